// Package aead is ChaCha20-Poly1305 (RFC 8439) for the data phase: AVX-512 code of
// our own where the processor has it, golang.org/x/crypto everywhere else. Both
// give the same bytes; [New] picks once per key.
//
// The build tag purego leaves the assembly out.
package aead

import (
	"crypto/cipher"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// KeyLen is the length of a key in bytes.
	KeyLen = chacha20poly1305.KeySize
	// NonceLen is the length of a nonce in bytes.
	NonceLen = chacha20poly1305.NonceSize
	// TagLen is how much longer than the plaintext a sealed text is, in bytes.
	TagLen = chacha20poly1305.Overhead
)

// ErrOpen says that a sealed text is forged, damaged or under another key. Open of
// the AVX-512 code returns it as it is; x/crypto has an error of its own.
var ErrOpen = errors.New("aead: message authentication failed")

// New returns the fastest AEAD that this processor can run for key.
//
// It keeps the contract of [cipher.AEAD] as x/crypto does: dst and text overlap
// exactly or not at all, dst and ad not at all (else panic), a nonce has NonceLen
// bytes (else panic), Open checks the tag in constant time and clears what was to
// become plaintext if it does not fit. Slices are borrowed for the call. Safe for
// concurrent use. Seal and Open allocate only to grow dst.
func New(key [KeyLen]byte) cipher.AEAD { return newFor(detect(), key) }

func portable(key [KeyLen]byte) cipher.AEAD {
	a, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic("aead: chacha20poly1305 refuses its own key length: " + err.Error())
	}
	return a
}
