package cipher

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// PubKeyLen is the length of a public key in bytes.
const PubKeyLen = 33

// Reasons why bytes are not a key. Callers branch on them with [errors.Is].
var (
	// ErrKeyLength says that a key or its text form has the wrong length.
	ErrKeyLength = errors.New("cipher: wrong key length")
	// ErrKeyText says that a text form holds characters outside its alphabet,
	// or is not the one canonical way to write its bytes.
	ErrKeyText = errors.New("cipher: malformed key text")
	// ErrZeroKey says that the unset key stands where a real one is needed.
	ErrZeroKey = errors.New("cipher: key is all zero")
	// ErrKeyPrefix says that a public key starts with neither 02 nor 03.
	ErrKeyPrefix = errors.New("cipher: public key prefix is not 02 or 03")
	// ErrNotCanonical says that the X coordinate is not below the field prime.
	ErrNotCanonical = errors.New("cipher: public key is not canonical")
	// ErrNotOnCurve says that no point of the curve has this X coordinate.
	ErrNotOnCurve = errors.New("cipher: public key is not on the curve")
	// ErrSecKeyRange says that a secret key is not below the group order.
	ErrSecKeyRange = errors.New("cipher: secret key out of range")
)

// A PubKey is a compressed secp256k1 point (SEC 1, section 2.3.3): 02 or 03 by
// the parity of Y, then X in 32 bytes, big-endian. The zero value means "unset".
type PubKey [PubKeyLen]byte

// ParsePubKey reads a compressed point. b is borrowed for the call.
//
// Errors: [ErrKeyLength], [ErrZeroKey], [ErrKeyPrefix], [ErrNotCanonical] when
// X ≥ p, [ErrNotOnCurve].
func ParsePubKey(b []byte) (PubKey, error) {
	if len(b) != PubKeyLen {
		return PubKey{}, fmt.Errorf("%w: %d bytes, want %d", ErrKeyLength, len(b), PubKeyLen)
	}
	pk := PubKey(b)
	if _, err := pk.point(); err != nil {
		return PubKey{}, err
	}
	return pk, nil
}

// ParsePubKeyText reads the text form: 66 hex digits in either case. It fails as
// [ParsePubKey] does, and with [ErrKeyText] for anything that is not hex.
func ParsePubKeyText(s string) (PubKey, error) {
	if len(s) != 2*PubKeyLen {
		return PubKey{}, fmt.Errorf("%w: %d characters, want %d", ErrKeyLength, len(s), 2*PubKeyLen)
	}
	var b [PubKeyLen]byte
	if _, err := hex.Decode(b[:], []byte(s)); err != nil {
		return PubKey{}, ErrKeyText
	}
	return ParsePubKey(b[:])
}

// Validate reports why pk is not a point of the curve, or nil. It costs one
// square root, about 10 µs.
func (pk PubKey) Validate() error {
	_, err := pk.point()
	return err
}

// IsZero reports whether pk is unset.
func (pk PubKey) IsZero() bool { return pk == PubKey{} }

// Compare orders keys by their bytes, as [bytes.Compare] does. Where two peers
// must agree on a role without talking, "the smaller key" is meant by this order.
func (pk PubKey) Compare(other PubKey) int { return bytes.Compare(pk[:], other[:]) }

// String returns the text form: 66 lower-case hex digits.
func (pk PubKey) String() string { return hex.EncodeToString(pk[:]) }

// Short returns the first 8 hex digits, for logs only: it names nobody reliably.
func (pk PubKey) Short() string { return hex.EncodeToString(pk[:4]) }

// AppendText appends the text form to b.
func (pk PubKey) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, pk[:]), nil }

// MarshalText returns the text form; the unset key is 66 zeros.
func (pk PubKey) MarshalText() ([]byte, error) { return pk.AppendText(nil) }

// UnmarshalText reads the text form. Unlike [ParsePubKeyText] it takes 66 zeros
// for the unset key, as deployed software writes it; ask IsZero where a real key
// is needed.
func (pk *PubKey) UnmarshalText(text []byte) error {
	if isZeroText(text, 2*PubKeyLen) {
		*pk = PubKey{}
		return nil
	}
	k, err := ParsePubKeyText(string(text))
	if err != nil {
		return err
	}
	*pk = k
	return nil
}

// MarshalBinary returns the 33 bytes in a slice that the caller owns.
func (pk PubKey) MarshalBinary() ([]byte, error) { return bytes.Clone(pk[:]), nil }

// UnmarshalBinary reads 33 bytes; all zero is the unset key, as in UnmarshalText.
func (pk *PubKey) UnmarshalBinary(b []byte) error {
	if len(b) == PubKeyLen && PubKey(b).IsZero() {
		*pk = PubKey{}
		return nil
	}
	k, err := ParsePubKey(b)
	if err != nil {
		return err
	}
	*pk = k
	return nil
}

// point decompresses pk with Z = 1.
func (pk *PubKey) point() (secp256k1.JacobianPoint, error) {
	var p secp256k1.JacobianPoint
	if pk.IsZero() {
		return p, ErrZeroKey
	}
	if pk[0] != secp256k1.PubKeyFormatCompressedEven && pk[0] != secp256k1.PubKeyFormatCompressedOdd {
		return p, ErrKeyPrefix
	}
	if overflow := p.X.SetByteSlice(pk[1:]); overflow {
		return p, ErrNotCanonical
	}
	if !secp256k1.DecompressY(&p.X, pk[0] == secp256k1.PubKeyFormatCompressedOdd, &p.Y) {
		return p, ErrNotOnCurve
	}
	p.X.Normalize()
	p.Y.Normalize()
	p.Z.SetInt(1)
	return p, nil
}

// compress writes p, which must not be the point at infinity; p becomes affine.
func compress(p *secp256k1.JacobianPoint) (pk PubKey) {
	p.ToAffine()
	pk[0] = secp256k1.PubKeyFormatCompressedEven
	if p.Y.IsOdd() {
		pk[0] = secp256k1.PubKeyFormatCompressedOdd
	}
	p.X.PutBytesUnchecked(pk[1:])
	return pk
}

func isZeroText(text []byte, n int) bool {
	return len(text) == n && len(bytes.Trim(text, "0")) == 0
}
