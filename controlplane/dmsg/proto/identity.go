package proto

import (
	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Identity is a party's lasting key and all that needs its secret half: the
// handshakes of sessions and streams, and signatures. One per process and key.
// Safe for concurrent use.
//
// It remembers the static-static secret of the peers it last shook hands with
// (bounded), which spares each KK handshake one multiplication of two on a side.
type Identity struct {
	static *cipher.StaticKey
}

// NewIdentity fails where sk is not a valid key.
func NewIdentity(sk cipher.SecKey) (*Identity, error) {
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		return nil, err
	}
	return &Identity{static: static}, nil
}

// PubKey returns the public half.
func (id *Identity) PubKey() cipher.PubKey { return id.static.PubKey() }

// Sign signs SHA-256(payload), for discovery entries.
func (id *Identity) Sign(payload []byte) (cipher.Sig, error) { return id.static.Sign(payload) }
