package noise

import (
	"fmt"
	"io"

	flynn "github.com/flynn/noise"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// DHLen is the length of public keys and Diffie-Hellman outputs, in bytes.
const DHLen = cipher.PubKeyLen

// Secp256k1 is the Noise DH function of that name, as dmsg has it: the output is
// SHA-256 of the compressed shared point, then one zero byte to fill the 33 that
// Noise wants keys and outputs to have in common.
//
// Noise hands secret keys over as bytes; those that are Static's are multiplied
// through its blinding, all others are ephemeral and are not. Static may be nil.
//
// Where Known is not nil it is Static's shared secret with Peer, which is then not
// computed.
type Secp256k1 struct {
	Static *cipher.StaticKey
	Peer   cipher.PubKey
	Known  *[32]byte
}

var _ flynn.DHFunc = Secp256k1{}

// GenerateKeypair draws an ephemeral key from random.
func (Secp256k1) GenerateKeypair(random io.Reader) (flynn.DHKey, error) {
	pk, sk, err := cipher.GenerateKeyPairFrom(random)
	if err != nil {
		return flynn.DHKey{}, err
	}
	return flynn.DHKey{Private: sk[:], Public: pk[:]}, nil
}

// DH multiplies. It fails where either key is not valid.
func (d Secp256k1) DH(secret, public []byte) ([]byte, error) {
	if len(secret) != cipher.SecKeyLen || len(public) != DHLen {
		return nil, fmt.Errorf("noise: %w", cipher.ErrKeyLength)
	}
	var (
		shared [32]byte
		err    error
	)
	switch pk := cipher.PubKey(public); {
	case d.Static == nil || !d.Static.Is(secret):
		shared, err = cipher.ECDH(cipher.SecKey(secret), pk)
	case d.Known != nil && pk == d.Peer:
		shared = *d.Known
	default:
		shared, err = d.Static.ECDH(pk)
	}
	if err != nil {
		return nil, fmt.Errorf("noise: %w", err)
	}
	out := make([]byte, DHLen)
	copy(out, shared[:])
	return out, nil
}

// DHLen returns 33.
func (Secp256k1) DHLen() int { return DHLen }

// DHName returns the name that goes into the protocol name.
func (Secp256k1) DHName() string { return "Secp256k1" }
