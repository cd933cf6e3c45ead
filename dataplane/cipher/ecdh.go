package cipher

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/rs/zerolog"
)

// ECDH returns SHA-256 of the compressed point sk·pk. The multiplication runs in
// variable time: use it for ephemeral keys and a [StaticKey] for lasting ones.
// It fails where either key is not valid.
func ECDH(sk SecKey, pk PubKey) ([32]byte, error) {
	k, err := sk.scalar()
	if err != nil {
		return [32]byte{}, err
	}
	p, err := pk.point()
	if err != nil {
		return [32]byte{}, err
	}
	var shared secp256k1.JacobianPoint
	secp256k1.ScalarMultNonConst(&k, &p, &shared)
	return hashPoint(&shared), nil
}

// A StaticKey is a visor's lasting key pair. Anyone may choose points for it to
// be multiplied with and time the answer, and the multiplication underneath runs
// in variable time; so each ECDH splits the secret into two fresh random halves.
// It is immutable and safe for concurrent use; printing one shows its public key.
type StaticKey struct {
	pub PubKey
	// Behind a pointer because fmt follows one level of pointers when it walks the
	// unexported fields of somebody else's struct, where Format is not asked.
	secret *secret
}

type secret struct {
	sk SecKey
	k  secp256k1.ModNScalar
}

// NewStaticKey validates sk and works out its public key.
func NewStaticKey(sk SecKey) (*StaticKey, error) {
	k, err := sk.scalar()
	if err != nil {
		return nil, err
	}
	pub, err := sk.PubKey()
	if err != nil {
		return nil, err
	}
	return &StaticKey{pub: pub, secret: &secret{sk: sk, k: k}}, nil
}

// PubKey returns the public half.
func (s *StaticKey) PubKey() PubKey { return s.pub }

// SecKey returns the secret half, for saving it.
func (s *StaticKey) SecKey() SecKey { return s.secret.sk }

// Is reports in constant time whether secret is this key's secret half.
func (s *StaticKey) Is(secret []byte) bool {
	return subtle.ConstantTimeCompare(s.secret.sk[:], secret) == 1
}

// ECDH returns what ECDH(secret, pk) returns, computed as (k−r)·P + r·P with a
// fresh r, so that its timing says nothing about k. It costs two multiplications,
// about 0.3 ms. It fails where pk is not valid.
func (s *StaticKey) ECDH(pk PubKey) ([32]byte, error) {
	p, err := pk.point()
	if err != nil {
		return [32]byte{}, err
	}
	return s.blinded(&p, rand.Reader)
}

// Sign signs payload; see [Sign].
func (s *StaticKey) Sign(payload []byte) (Sig, error) { return Sign(s.secret.sk, payload) }

// String returns the public key's text form.
func (s *StaticKey) String() string { return s.pub.String() }

// Format prints the public key for every verb: the default would walk the fields.
func (s *StaticKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.pub.String()) }

// MarshalZerologObject logs the public key.
func (s *StaticKey) MarshalZerologObject(e *zerolog.Event) { e.Stringer("pk", s.pub) }

// blinded multiplies p by k in two halves. p is a point of the curve, whose
// order is prime, so k·p is never infinity; the two halves may be equal or
// opposite to anything else on the way, which AddNonConst handles.
func (s *StaticKey) blinded(p *secp256k1.JacobianPoint, random io.Reader) ([32]byte, error) {
	r, rest, err := s.split(random)
	if err != nil {
		return [32]byte{}, err
	}
	var a, b, shared secp256k1.JacobianPoint
	secp256k1.ScalarMultNonConst(&rest, p, &a)
	secp256k1.ScalarMultNonConst(&r, p, &b)
	a.ToAffine() // the addition wants normalised coordinates
	b.ToAffine()
	secp256k1.AddNonConst(&a, &b, &shared)
	return hashPoint(&shared), nil
}

// split draws r and returns it with k−r. A half that is zero would be skipped by
// the multiplication and leave k itself to the other: draw again.
func (s *StaticKey) split(random io.Reader) (r, rest secp256k1.ModNScalar, err error) {
	for {
		var b [32]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return r, rest, fmt.Errorf("cipher: read random bytes: %w", err)
		}
		overflow := r.SetBytes(&b) != 0
		rest.NegateVal(&r).Add(&s.secret.k)
		if !overflow && !r.IsZero() && !rest.IsZero() {
			return r, rest, nil
		}
	}
}

func hashPoint(p *secp256k1.JacobianPoint) [32]byte {
	pk := compress(p)
	return sha256.Sum256(pk[:])
}
