package cipher

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// SigLen is the length of a signature in bytes.
const SigLen = 65

// Why a signature does not hold. Callers that only want a verdict compare with nil.
var (
	// ErrSigFormat says that the bytes are no signature: wrong length or text, R or
	// S outside 1..n-1, a recovery id above 3 or one that names no point.
	ErrSigFormat = errors.New("cipher: malformed signature")
	// ErrSigHighS says that S is above n/2: the mirror image of a signature, which
	// anyone can make from a good one.
	ErrSigHighS = errors.New("cipher: signature has a high S")
	// ErrSigMismatch says that another key or another payload was signed.
	ErrSigMismatch = errors.New("cipher: signature does not match")
	// ErrZeroDigest says that the all-zero digest was to be signed or verified.
	ErrZeroDigest = errors.New("cipher: digest is all zero")
)

// A Sig is an ECDSA signature over a SHA-256 digest: R and S, 32 bytes big-endian
// each, then the recovery id (bit 0: Y of R is odd; bit 1: X of R was not below n).
type Sig [SigLen]byte

// compactBase is what ecdsa's compact form adds to the recovery id of a signature
// by a compressed key; that form also puts the id first.
const compactBase = 27 + 4

// Sign signs SHA-256(payload) with a low S and the deterministic nonce of RFC
// 6979. It fails where sk is not valid. payload is borrowed for the call.
func Sign(sk SecKey, payload []byte) (Sig, error) {
	return SignDigest(sk, sha256.Sum256(payload))
}

// SignDigest signs a digest that the caller computed. It fails where sk is not
// valid and with [ErrZeroDigest].
func SignDigest(sk SecKey, digest [32]byte) (Sig, error) {
	if digest == [32]byte{} {
		return Sig{}, ErrZeroDigest
	}
	k, err := sk.scalar()
	if err != nil {
		return Sig{}, err
	}
	compact := ecdsa.SignCompact(secp256k1.NewPrivateKey(&k), digest[:], true)
	var sig Sig
	copy(sig[:64], compact[1:])
	sig[64] = compact[0] - compactBase
	return sig, nil
}

// Verify returns nil if sig is pk's signature of SHA-256(payload), and otherwise
// [ErrSigFormat], [ErrSigHighS], [ErrSigMismatch] or a reason why pk is no key.
// payload is borrowed for the call.
func Verify(pk PubKey, sig Sig, payload []byte) error {
	return VerifyDigest(pk, sig, sha256.Sum256(payload))
}

// VerifyDigest is Verify for a digest that the caller computed; the zero digest
// fails with [ErrZeroDigest].
//
// It recovers the signer from the signature and compares. That also satisfies the
// verification equation of ECDSA, from which recovery is derived (SEC 1, section
// 4.1.6), so it is not computed a second time.
func VerifyDigest(pk PubKey, sig Sig, digest [32]byte) error {
	if pk.IsZero() {
		return ErrZeroKey
	}
	signer, err := Recover(sig, digest)
	if err != nil {
		return err
	}
	if signer != pk {
		return ErrSigMismatch
	}
	return nil
}

// Recover returns the key whose signature of digest sig is; every well-formed
// signature has one, so by itself this proves nothing.
func Recover(sig Sig, digest [32]byte) (PubKey, error) {
	if digest == [32]byte{} {
		return PubKey{}, ErrZeroDigest
	}
	if sig[64] > 3 {
		return PubKey{}, fmt.Errorf("%w: recovery id %d", ErrSigFormat, sig[64])
	}
	var s secp256k1.ModNScalar
	if overflow := s.SetByteSlice(sig[32:64]); overflow {
		return PubKey{}, fmt.Errorf("%w: S out of range", ErrSigFormat)
	}
	if s.IsOverHalfOrder() {
		return PubKey{}, ErrSigHighS
	}
	var compact [SigLen]byte
	compact[0] = sig[64] + compactBase
	copy(compact[1:], sig[:64])
	signer, _, err := ecdsa.RecoverCompact(compact[:], digest[:])
	if err != nil {
		return PubKey{}, fmt.Errorf("%w: %w", ErrSigFormat, err)
	}
	return PubKey(signer.SerializeCompressed()), nil
}

// String returns the text form: 130 lower-case hex digits.
func (sig Sig) String() string { return hex.EncodeToString(sig[:]) }

// MarshalText returns the text form.
func (sig Sig) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, sig[:]), nil }

// UnmarshalText reads 130 hex digits; whether they are a signature is for
// [Verify] to say. It fails with [ErrSigFormat].
func (sig *Sig) UnmarshalText(text []byte) error {
	var s Sig
	if len(text) != 2*SigLen {
		return fmt.Errorf("%w: %d characters, want %d", ErrSigFormat, len(text), 2*SigLen)
	}
	if _, err := hex.Decode(s[:], text); err != nil {
		return fmt.Errorf("%w: not hex", ErrSigFormat)
	}
	*sig = s
	return nil
}
