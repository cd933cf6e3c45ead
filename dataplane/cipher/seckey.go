package cipher

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/rs/zerolog"
)

// SecKeyLen is the length of a secret key in bytes.
const SecKeyLen = 32

// redacted is all that printing a secret key ever shows.
const redacted = "<secret key>"

// A SecKey is a scalar in 1..n-1, 32 bytes big-endian. The zero value means
// "unset". Printing or logging one shows a placeholder; only MarshalText, which
// key and config files are written with, reveals it. fmt asks no methods of
// unexported fields, so a struct should hold a [StaticKey] instead, which keeps
// its secret from that walk too.
type SecKey [SecKeyLen]byte

// GenerateKeyPair makes a key from the system's random source, which never fails
// (crypto/rand ends the program if it does).
func GenerateKeyPair() (PubKey, SecKey) {
	for {
		pk, sk, err := GenerateKeyPairFrom(rand.Reader)
		if err == nil {
			return pk, sk
		}
	}
}

// GenerateKeyPairFrom makes a key from random, which must be a cryptographic
// source anywhere but in tests; it reads 32 bytes, again for the one draw in 2^128
// that is no scalar. Errors are those of the reader.
func GenerateKeyPairFrom(random io.Reader) (PubKey, SecKey, error) {
	for {
		var sk SecKey
		if _, err := io.ReadFull(random, sk[:]); err != nil {
			return PubKey{}, SecKey{}, fmt.Errorf("cipher: read random bytes: %w", err)
		}
		if pk, err := sk.PubKey(); err == nil {
			return pk, sk, nil
		}
	}
}

// ParseSecKeyText reads 64 hex digits.
//
// Errors: [ErrKeyLength], [ErrKeyText], [ErrZeroKey], [ErrSecKeyRange]. None of
// them quotes the input.
func ParseSecKeyText(s string) (SecKey, error) {
	var sk SecKey
	if len(s) != 2*SecKeyLen {
		return SecKey{}, fmt.Errorf("%w: %d characters, want %d", ErrKeyLength, len(s), 2*SecKeyLen)
	}
	if _, err := hex.Decode(sk[:], []byte(s)); err != nil {
		return SecKey{}, ErrKeyText // the decoder's error names a character of the secret
	}
	if err := sk.Validate(); err != nil {
		return SecKey{}, err
	}
	return sk, nil
}

// Validate fails with [ErrZeroKey] or [ErrSecKeyRange] unless sk is in 1..n-1.
func (sk SecKey) Validate() error {
	_, err := sk.scalar()
	return err
}

// PubKey returns the point sk·G. It fails as Validate does.
func (sk SecKey) PubKey() (PubKey, error) {
	k, err := sk.scalar()
	if err != nil {
		return PubKey{}, err
	}
	var p secp256k1.JacobianPoint
	secp256k1.ScalarBaseMultNonConst(&k, &p)
	return compress(&p), nil
}

// IsZero reports whether sk is unset.
func (sk SecKey) IsZero() bool { return sk == SecKey{} }

// String returns a placeholder.
func (sk SecKey) String() string { return redacted }

// Format prints a placeholder for every verb, %x and %#v among them.
func (sk SecKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalZerologObject logs nothing of the key.
func (sk SecKey) MarshalZerologObject(e *zerolog.Event) { e.Str("key", redacted) }

// MarshalText returns the 64 hex digits: the secret itself, for files.
func (sk SecKey) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, sk[:]), nil }

// UnmarshalText reads 64 hex digits; 64 zeros are the unset key.
func (sk *SecKey) UnmarshalText(text []byte) error {
	if isZeroText(text, 2*SecKeyLen) {
		*sk = SecKey{}
		return nil
	}
	k, err := ParseSecKeyText(string(text))
	if err != nil {
		return err
	}
	*sk = k
	return nil
}

func (sk *SecKey) scalar() (k secp256k1.ModNScalar, err error) {
	if overflow := k.SetBytes((*[32]byte)(sk)); overflow != 0 {
		return k, ErrSecKeyRange
	}
	if k.IsZero() {
		return k, ErrZeroKey
	}
	return k, nil
}
