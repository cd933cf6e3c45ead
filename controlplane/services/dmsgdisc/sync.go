package dmsgdisc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// syncRetry is how long follow waits before it reads the store again, up to twice
// that.
const syncRetry = 500 * time.Millisecond

// follow keeps the mirror right until ctx ends or the store is closed.
func (s *Service) follow(ctx context.Context, w *store.Watcher) error {
	for ctx.Err() == nil {
		changes, err := w.Next(ctx)
		if errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("dmsgdisc: %w", err)
		}
		if err != nil {
			continue // ctx has ended
		}
		if err := s.catchUp(ctx, changes); err != nil && ctx.Err() == nil {
			s.mirror.lose(s.o.Now())
			s.log.Warn().Err(err).Msg("the store is not available; look-ups are answered from memory")
			s.reload(ctx)
		}
	}
	return nil
}

// catchUp brings what changes tell of into the mirror.
func (s *Service) catchUp(ctx context.Context, changes []store.Change) error {
	var keys []string
	for _, c := range changes {
		switch c.Kind {
		case store.Lost:
			s.mirror.lose(s.o.Now())
			s.log.Warn().Msg("the store is not available; look-ups are answered from memory")
		case store.Resync:
			if err := s.load(ctx); err != nil {
				return err
			}
		case store.Written, store.Deleted:
			pk, err := pkOf(c.Key)
			if err != nil || c.Kind == store.Written && s.mirror.version(pk) >= c.Version {
				continue
			}
			keys = append(keys, c.Key)
		}
	}
	for len(keys) > 0 {
		part := keys[:min(len(keys), store.MaxMany)]
		keys = keys[len(part):]
		if err := s.fetch(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// reload loads the mirror until that works, or ctx ends or the store is closed.
func (s *Service) reload(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(syncRetry + rand.N(syncRetry)):
		}
		err := s.load(ctx)
		if err == nil || errors.Is(err, store.ErrClosed) {
			return
		}
	}
}

// load reads the whole store into the mirror.
func (s *Service) load(ctx context.Context) error {
	since := s.mirror.isLost()
	s.mirror.begin()
	for it, err := range store.All(ctx, s.store, prefix) {
		if err != nil {
			return err
		}
		s.take(it)
	}
	s.mirror.end(s.o.Now())
	if !since.IsZero() {
		s.log.Info().Stringer("after", s.o.Now().Sub(since).Round(time.Second)).Msg("the store is back")
	}
	return nil
}

// fetch brings some keys up to date.
func (s *Service) fetch(ctx context.Context, keys []string) error {
	known := make([]uint64, len(keys))
	pks := make([]cipher.PubKey, len(keys))
	for i, key := range keys {
		pks[i], _ = pkOf(key) // the caller has checked it
		known[i] = s.mirror.version(pks[i])
	}
	items, err := s.store.GetMany(ctx, keys)
	if err != nil {
		return err
	}
	for i, it := range items {
		if it.Version == 0 {
			s.mirror.drop(pks[i], known[i])
			continue
		}
		s.take(it)
	}
	return nil
}

// take puts an item of the store into the mirror. One that is not ours to read is
// left out.
func (s *Service) take(it store.Item) {
	pk, err := pkOf(it.Key)
	if err != nil || s.mirror.have(pk, it.Version) {
		return
	}
	r, err := decodeRecord(it.Value)
	if err != nil {
		s.log.Warn().Err(err).Stringer("pk", pk).Msg("entry is left out")
		return
	}
	var e *disc.Entry
	if len(r.raw) > 0 {
		if e, err = disc.Parse(r.raw); err != nil {
			s.log.Warn().Err(err).Stringer("pk", pk).Msg("entry is left out")
			return
		}
	}
	s.mirror.put(newItem(pk, e, it.Version, it.Expires))
}
