//go:build !purego

package aead

import (
	"crypto/cipher"
	"crypto/subtle"
	"slices"

	"golang.org/x/sys/cpu"
)

// features are the instruction sets that the assembly uses. All came together with
// Ice Lake (2019) and Zen 4 (2022).
type features struct {
	avx2, bmi2          bool
	avx512f, bw, dq, vl bool
	ifma, vbmi2         bool // VPMADD52, VPSHRDQ
}

// detect asks the processor, and whether the system saves the wide registers.
func detect() features {
	x := &cpu.X86
	return features{
		avx2: x.HasAVX2, bmi2: x.HasBMI2,
		avx512f: x.HasAVX512F, bw: x.HasAVX512BW, dq: x.HasAVX512DQ, vl: x.HasAVX512VL,
		ifma:  x.HasAVX512IFMA,
		vbmi2: x.HasAVX512VBMI2,
	}
}

func newFor(f features, key [KeyLen]byte) cipher.AEAD {
	if f != (features{true, true, true, true, true, true, true, true}) {
		return portable(key)
	}
	return &wide{key}
}

// maxText is the longest text, in bytes: 2^32 blocks of key stream less the one
// that becomes the key of Poly1305.
const maxText = 64<<32 - 64

// maxPacket is the longest text, in bytes, that one pass of 24 blocks of key stream
// is enough for, the key of Poly1305 included.
const maxPacket = 23 * 64

// A wide is a key for the AVX-512 code.
type wide struct{ key [KeyLen]byte }

func (w *wide) NonceSize() int { return NonceLen }
func (w *wide) Overhead() int  { return TagLen }

func (w *wide) Seal(dst, nonce, plaintext, ad []byte) []byte {
	n := len(plaintext)
	check(nonce, n)
	all, out := grow(dst, n+TagLen)
	checkOverlap(out, plaintext, ad)
	var polyKey [32]byte
	xorKeyStream(out[:n], plaintext, &w.key, (*[NonceLen]byte)(nonce), 0, &polyKey)
	polyTag((*[TagLen]byte)(out[n:]), &polyKey, ad, out[:n])
	return all
}

func (w *wide) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	n := len(ciphertext) - TagLen
	check(nonce, n)
	if n < 0 {
		return nil, ErrOpen
	}
	text, tag := ciphertext[:n], ciphertext[n:]
	all, out := grow(dst, n)
	checkOverlap(out, text, ad)
	if !w.open(out, text, (*[NonceLen]byte)(nonce), (*[TagLen]byte)(tag), ad) {
		clear(out)
		return nil, ErrOpen
	}
	return all, nil
}

// open decrypts text to out if tag fits, else it leaves out alone.
func (w *wide) open(out, text []byte, nonce *[NonceLen]byte, tag *[TagLen]byte, ad []byte) bool {
	if len(text) <= maxPacket {
		return openPacket(out, text, &w.key, nonce, tag, ad)
	}
	// The key of Poly1305 has a pass of its own, an eighth of the time at 4 KiB.
	var (
		polyKey [32]byte
		want    [TagLen]byte
	)
	xorKeyStream(nil, nil, &w.key, nonce, 0, &polyKey)
	polyTag(&want, &polyKey, ad, text)
	if subtle.ConstantTimeCompare(want[:], tag[:]) != 1 {
		return false
	}
	xorKeyStream(out, text, &w.key, nonce, 1, nil)
	return true
}

// check panics where cipher.AEAD says so: the caller's mistake, not a peer's.
func check(nonce []byte, n int) {
	if len(nonce) != NonceLen {
		panic("aead: bad nonce length")
	}
	if n > maxText {
		panic("aead: text too long")
	}
}

// checkOverlap panics unless out and text begin at the same byte or share none, and
// out and ad share none.
func checkOverlap(out, text, ad []byte) {
	if overlap(out, text) && &out[0] != &text[0] || overlap(out, ad) {
		panic("aead: invalid buffer overlap")
	}
}

// grow returns dst with n bytes more, and those bytes.
func grow(dst []byte, n int) (all, more []byte) {
	all = slices.Grow(dst, n)[:len(dst)+n]
	return all, all[len(dst):]
}

// xorKeyStream writes src xored with the key stream of ChaCha20 to dst, which is as
// long. The stream begins with block number counter; if polyKey is not nil, half of
// the first block goes there and the text begins with the next block.
//
//go:noescape
func xorKeyStream(dst, src []byte, key *[KeyLen]byte, nonce *[NonceLen]byte, counter uint32, polyKey *[32]byte)

// polyTag writes the Poly1305 tag of ad and text, put together as RFC 8439 section
// 2.8 has it, to tag.
//
//go:noescape
func polyTag(tag *[TagLen]byte, key *[32]byte, ad, text []byte)

// openPacket compares tag with that of ad and text and, only if it fits, decrypts
// text, at most maxPacket bytes, to dst, which is as long. It says whether it fits.
// The key stream waits in its frame meanwhile.
//
//go:noescape
func openPacket(dst, text []byte, key *[KeyLen]byte, nonce *[NonceLen]byte, tag *[TagLen]byte, ad []byte) bool

// overlap says whether a and b share a byte. (In assembly, as Go orders addresses
// only by way of package unsafe.)
//
//go:noescape
func overlap(a, b []byte) bool
