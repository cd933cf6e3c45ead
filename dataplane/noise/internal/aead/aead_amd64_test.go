//go:build !purego

package aead

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"reflect"
	"testing"
)

// A processor that lacks any one of the instruction sets gets x/crypto.
func TestFallback(t *testing.T) {
	var all features
	for i := range reflect.TypeFor[features]().NumField() {
		*fieldOf(&all, i) = true
	}
	var key [KeyLen]byte
	if _, ok := newFor(all, key).(*wide); !ok {
		t.Errorf("with all of %+v: %T", all, newFor(all, key))
	}
	for i := range reflect.TypeFor[features]().NumField() {
		f := all
		*fieldOf(&f, i) = false
		if got, want := reflect.TypeOf(newFor(f, key)), reflect.TypeOf(portable(key)); got != want {
			t.Errorf("%+v: %v, want %v", f, got, want)
		}
	}
}

func fieldOf(f *features, i int) *bool {
	return [...]*bool{&f.avx2, &f.bmi2, &f.avx512f, &f.bw, &f.dq, &f.vl, &f.ifma, &f.vbmi2}[i]
}

// needWide ends a test that calls the assembly itself where it cannot run.
func needWide(t *testing.T) {
	t.Helper()
	if _, ok := newFor(detect(), [KeyLen]byte{}).(*wide); !ok {
		t.Skipf("this processor has no AVX-512 with IFMA and VBMI2: %+v", detect())
	}
}

func TestDoesNotAllocate(t *testing.T) {
	a := New([KeyLen]byte{1})
	nonce, ad := make([]byte, NonceLen), make([]byte, 16)
	bad := make([]byte, 100)
	for _, n := range []int{16, 1343, 8192} {
		buf := make([]byte, n, n+TagLen)
		allocs := testing.AllocsPerRun(5, func() {
			for range 100 { // AllocsPerRun floors its mean, so do 100 per run
				sealed := a.Seal(buf[:0], nonce, buf, ad)
				if _, err := a.Open(sealed[:0], nonce, sealed, ad); err != nil {
					t.Fatal(err)
				}
				if _, err := a.Open(bad[:0], nonce, bad, ad); err == nil {
					t.Fatal("zeros were opened")
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%d bytes: %v allocations per 100 packets, want 0", n, allocs)
		}
	}
}

// slowTag is polyTag as RFC 8439 sections 2.5 and 2.8 put it, by whole numbers.
func slowTag(key *[32]byte, ad, text []byte) (tag [TagLen]byte) {
	little := func(b []byte) *big.Int {
		n := new(big.Int)
		for i := range b {
			n.Lsh(n, 8).Or(n, big.NewInt(int64(b[len(b)-1-i])))
		}
		return n
	}
	var msg []byte
	for _, part := range [][]byte{ad, text} {
		msg = append(msg, part...)
		msg = append(msg, make([]byte, -len(part)&15)...)
	}
	msg = binary.LittleEndian.AppendUint64(msg, uint64(len(ad)))
	msg = binary.LittleEndian.AppendUint64(msg, uint64(len(text)))
	h, r := new(big.Int), little(key[:16])
	r.And(r, little(clamp[:]))
	for ; len(msg) > 0; msg = msg[16:] {
		h.Add(h, little(msg[:16])).Add(h, new(big.Int).Lsh(big.NewInt(1), 128))
		h.Mul(h, r).Mod(h, prime())
	}
	h.Add(h, little(key[16:]))
	for i := range tag {
		tag[i] = byte(new(big.Int).Rsh(h, uint(8*i)).Uint64())
	}
	return tag
}

var clamp = [16]byte{0xff, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f}

func prime() *big.Int {
	p := new(big.Int).Lsh(big.NewInt(1), 130)
	return p.Sub(p, big.NewInt(5))
}

// Keys and texts that drive limbs and carries to their limits.
func TestTagLimits(t *testing.T) {
	needWide(t)
	r := rand.NewChaCha8(seed)
	fill := func(b byte) func([]byte) {
		return func(p []byte) {
			for i := range p {
				p[i] = b
			}
		}
	}
	type pattern struct {
		name string
		fill func([]byte)
	}
	patterns := []pattern{
		{"zeros", fill(0)},
		{"ones", fill(0xff)},
		{"2^128-1 and 0 by turns", func(p []byte) {
			for i := range p {
				p[i] = byte(i/16%2) - 1
			}
		}},
		{"limb 0 full", func(p []byte) { // bits 0..43
			for i := range p {
				p[i] = [16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0x0f}[i%16]
			}
		}},
		{"random", func(p []byte) { r.Read(p) }},
	}
	keys := append(patterns[:len(patterns):len(patterns)],
		pattern{"r = 1", func(p []byte) { fill(0)(p); p[0] = 1 }},
		pattern{"r = 2, s full", func(p []byte) { fill(0)(p[:16]); fill(0xff)(p[16:]); p[0] = 2 }},
	)
	lengths := []int{0, 1, 15, 16, 17, 63, 127, 128, 129, 159, 160, 161, 1343, 4096, 16_383}
	for n := 128; n < 128+2*512; n += 16 { // every count of groups and of blocks in the first one
		lengths = append(lengths, n, n+7)
	}
	for _, k := range keys {
		for _, p := range patterns {
			for _, n := range lengths {
				var (
					key  [32]byte
					tag  [TagLen]byte
					ad   = make([]byte, n*3%53)
					text = make([]byte, n)
				)
				k.fill(key[:])
				p.fill(ad)
				p.fill(text)
				polyTag(&tag, &key, ad, text)
				if want := slowTag(&key, ad, text); tag != want {
					t.Fatalf("key %s, text %s, %d bytes: %x, want %x", k.name, p.name, n, tag, want)
				}
			}
		}
	}
}

// Sums that end right below, at and above multiples of p: with r = 1 the tag is the
// sum of the blocks, so one block can be chosen to make any number of it.
func TestTagAtThePrime(t *testing.T) {
	needWide(t)
	r := rand.NewChaCha8(seed)
	p := prime()
	key := [32]byte{0: 1}
	for _, n := range []int{32, 64, 128, 240, 256, 272, 400, 1344, 1360, 4096} {
		for off := int64(-6); off <= 6; off++ {
			target := new(big.Int).Add(p, big.NewInt(off))
			target.Mod(target, p)
			text := choose(r, n, target)
			var tag [TagLen]byte
			polyTag(&tag, &key, nil, text)
			if want := slowTag(&key, nil, text); tag != want {
				t.Errorf("%d bytes, p%+d: %x, want %x", n, off, tag, want)
			}
			low := new(big.Int).And(target, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)))
			if want := low.FillBytes(make([]byte, 16)); binary.BigEndian.Uint64(want[8:]) != binary.LittleEndian.Uint64(tag[:]) {
				t.Errorf("%d bytes, p%+d: the tag %x is not the sum that was aimed at, %x", n, off, tag, want)
			}
		}
	}
}

// choose returns n bytes, whole blocks, that sum up to target modulo p with r = 1.
func choose(r *rand.ChaCha8, n int, target *big.Int) []byte {
	text := make([]byte, n)
	for {
		r.Read(text)
		clear(text[:16])
		sum := new(big.Int).Lsh(big.NewInt(int64(n/16+1)), 128) // bit 128 of each block
		for b := 0; b < n; b += 16 {
			for i := range 16 {
				v := new(big.Int).Lsh(big.NewInt(int64(text[b+i])), uint(8*i))
				sum.Add(sum, v)
			}
		}
		sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(n)), 64)) // the block of lengths
		first := new(big.Int).Sub(target, sum)
		first.Mod(first, prime())
		if first.BitLen() > 128 {
			continue // three times in four
		}
		for i := range 16 {
			text[i] = byte(new(big.Int).Rsh(first, uint(8*i)).Uint64())
		}
		return text
	}
}

// A text with a wrong tag is not decrypted at all, not even to be cleared later.
func TestOpenPacketChecksFirst(t *testing.T) {
	needWide(t)
	var (
		key   [KeyLen]byte
		nonce [NonceLen]byte
	)
	for _, n := range []int{1, 64, 100, 448, 449, maxPacket} {
		sealed := New(key).Seal(nil, nonce[:], make([]byte, n), nil)
		tag := [TagLen]byte(sealed[n:])
		dst := bytes.Repeat([]byte{0xa5}, n)
		tag[TagLen-1] ^= 0x80
		if openPacket(dst, sealed[:n], &key, &nonce, &tag, nil) || !bytes.Equal(dst, bytes.Repeat([]byte{0xa5}, n)) {
			t.Errorf("%d bytes with a wrong tag were decrypted", n)
		}
		tag[TagLen-1] ^= 0x80
		if !openPacket(dst, sealed[:n], &key, &nonce, &tag, nil) || !bytes.Equal(dst, make([]byte, n)) {
			t.Errorf("%d bytes with their tag were not decrypted", n)
		}
	}
}

func TestOverlap(t *testing.T) {
	b := make([]byte, 100)
	tests := []struct {
		name string
		x, y []byte
		want bool
	}{
		{"the same", b, b, true},
		{"same start", b, b[:50], true},
		{"side by side", b[:50], b[50:], false},
		{"one byte shared", b[:51], b[50:], true},
		{"inside", b, b[10:20], true},
		{"nothing inside", b, b[10:10], false},
		{"nil", b, nil, false},
		{"elsewhere", b, make([]byte, 100), false},
	}
	for _, tt := range tests {
		if got := overlap(tt.x, tt.y); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if got := overlap(tt.y, tt.x); got != tt.want {
			t.Errorf("%s, the other way round: %v, want %v", tt.name, got, tt.want)
		}
	}
}
