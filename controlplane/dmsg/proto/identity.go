package proto

import (
	"sync"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Identity is a party's lasting key and all that needs its secret half: the
// handshakes of sessions and streams, and signatures. One per process and key.
// Safe for concurrent use.
//
// It remembers the static-static secrets of the peers it last shook hands with,
// which spares each further stream handshake one multiplication of three on a side,
// the blinded one, which costs as much as two.
type Identity struct {
	static *cipher.StaticKey
	shared sharedCache
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

// sharedWith returns the static-static secret with remote. It fails where remote is
// no valid key.
func (id *Identity) sharedWith(remote cipher.PubKey) (*[32]byte, error) {
	if secret := id.shared.get(remote); secret != nil {
		return secret, nil
	}
	secret, err := id.static.ECDH(remote)
	if err != nil {
		return nil, err
	}
	id.shared.put(remote, &secret)
	return &secret, nil
}

// sharedGeneration is how many peers one generation of the cache holds. Twice that
// is the most there are, about 130 bytes each.
const sharedGeneration = 1024

// A sharedCache keeps the secrets of the peers used last, in two generations: a
// full one becomes the old one, and what is used of that moves back. A party that
// makes keys without end can so push others out, at the price of a multiplication
// and a signature for each; they are then calculated anew. The zero value is ready.
type sharedCache struct {
	mu       sync.Mutex
	cur, old map[cipher.PubKey]*[32]byte // the secrets are immutable
}

func (c *sharedCache) get(pk cipher.PubKey) *[32]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret := c.cur[pk]; secret != nil {
		return secret
	}
	secret := c.old[pk]
	if secret != nil {
		c.add(pk, secret)
	}
	return secret
}

func (c *sharedCache) put(pk cipher.PubKey, secret *[32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(pk, secret)
}

// add is put with mu held.
func (c *sharedCache) add(pk cipher.PubKey, secret *[32]byte) {
	if c.cur == nil || len(c.cur) == sharedGeneration {
		c.cur, c.old = make(map[cipher.PubKey]*[32]byte), c.cur
	}
	c.cur[pk] = secret
}
