package dmsgdisc

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// maxLookups bounds how many look-ups of what the mirror lacks wait for a shared
// store at a time. The others are answered that there is no such entry.
const maxLookups = 64

// lookup returns the entry of pk, or nil.
func (s *Service) lookup(ctx context.Context, pk cipher.PubKey) *item {
	if it := s.mirror.get(pk, s.o.Now()); it != nil || !s.o.Shared || !s.mirror.isLost().IsZero() {
		return it
	}
	// Another instance may have taken it a moment ago.
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	default:
		return nil
	}
	it, err := s.store.Get(ctx, keyOf(pk))
	if err != nil {
		return nil // gone, or the store is: follow will find out
	}
	it.Key = keyOf(pk)
	s.take(it)
	return s.mirror.get(pk, s.o.Now())
}

// entry answers GET entry/{pk}.
func (c *call) entry(text []byte) {
	var pk cipher.PubKey
	if len(text) != 2*len(pk) {
		c.refuse(disc.ErrBadInput)
		return
	}
	if _, err := hex.Decode(pk[:], text); err != nil {
		c.refuse(disc.ErrBadInput)
		return
	}
	if it := c.s.mirror.get(pk, c.s.o.Now()); it != nil {
		c.tagged(it.raw, it.etag)
		return
	}
	// Whether the bytes are a key is asked only where they name nobody.
	if pk.Validate() != nil {
		c.refuse(disc.ErrBadInput)
		return
	}
	it := c.s.lookup(context.Background(), pk)
	if it == nil {
		c.refuse(disc.ErrNotFound)
		return
	}
	c.tagged(it.raw, it.etag)
}

// batch answers POST entries/batch: a list of keys, answered by an object of the
// entries that there are, by key as it was asked for.
func (c *call) batch() {
	var keys []string
	if err := json.Unmarshal(c.PostBody(), &keys); err != nil || len(keys) > disc.MaxBatch {
		c.refuse(disc.ErrBadInput)
		return
	}
	out := []byte{'{'}
	seen := make(map[cipher.PubKey]bool, len(keys))
	for _, text := range keys {
		var pk cipher.PubKey
		if len(text) != 2*len(pk) {
			continue
		}
		if _, err := hex.Decode(pk[:], []byte(text)); err != nil || seen[pk] {
			continue
		}
		seen[pk] = true
		if it := c.s.mirror.get(pk, c.s.o.Now()); it != nil {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(out, '"')
			out = append(out, text...)
			out = append(out, '"', ':')
			out = append(out, it.raw...)
		}
	}
	c.json(200, append(out, '}'))
}
