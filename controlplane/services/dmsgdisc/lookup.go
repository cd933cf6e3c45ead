package dmsgdisc

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// maxLookups bounds how many look-ups of what the mirror lacks wait for a shared
// store at a time. The others are told to come back.
const maxLookups = 64

// lookup returns the entry of pk. It fails with disc.ErrNotFound if there is none, and
// with errBusy where only the store could tell and cannot be asked: another instance may
// have taken the entry a moment ago.
func (s *Service) lookup(ctx context.Context, pk cipher.PubKey) (*item, error) {
	if it := s.mirror.get(pk, s.o.Now()); it != nil {
		return it, nil
	}
	if !s.o.Shared {
		return nil, disc.ErrNotFound
	}
	if !s.mirror.isLost().IsZero() {
		return nil, errBusy
	}
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	default:
		return nil, errBusy
	}
	it, err := s.store.Get(ctx, keyOf(pk))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, disc.ErrNotFound
	case err != nil:
		return nil, err
	}
	s.take(it)
	if it := s.mirror.get(pk, s.o.Now()); it != nil {
		return it, nil
	}
	return nil, disc.ErrNotFound
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
		httpd.Tagged(c.RequestCtx, it.raw, it.etag)
		return
	}
	// Whether the bytes are a key is asked only where they name nobody.
	if pk.Validate() != nil {
		c.refuse(disc.ErrBadInput)
		return
	}
	it, err := c.s.lookup(context.Background(), pk)
	if err != nil {
		c.refuse(err)
		return
	}
	httpd.Tagged(c.RequestCtx, it.raw, it.etag)
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
	c.json(http.StatusOK, append(out, '}'))
}
