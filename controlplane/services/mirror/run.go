package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/skyminer/skywire/controlplane/store"
)

// retry is how long Run waits before it reads a lost store again, up to twice that.
const retry = 500 * time.Millisecond

// Run reads the store, calls ready and keeps the mirror right until ctx ends. It
// fails where the store cannot be read at the start, and where it is closed.
func (m *Mirror[T]) Run(ctx context.Context, ready func()) error {
	w, err := m.st.Watch(m.o.Prefix)
	if err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	defer w.Close()
	if err := m.load(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("mirror: read the store: %w", err)
	}
	ready()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				m.sweep(m.o.Now())
			}
		}
	}()
	defer func() { cancel(); <-swept }()
	for ctx.Err() == nil {
		changes, err := w.Next(ctx)
		if errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("mirror: %w", err)
		}
		if err != nil {
			continue // ctx has ended
		}
		if err := m.catchUp(ctx, changes); err != nil && ctx.Err() == nil {
			m.lose()
			m.reload(ctx)
		}
	}
	return nil
}

// catchUp brings what changes tell of into the mirror.
func (m *Mirror[T]) catchUp(ctx context.Context, changes []store.Change) error {
	var keys []string
	for _, c := range changes {
		switch c.Kind {
		case store.Lost:
			m.lose()
		case store.Resync:
			if err := m.load(ctx); err != nil {
				return err
			}
		case store.Written, store.Deleted:
			key, ok := strings.CutPrefix(c.Key, m.o.Prefix)
			if !ok || c.Kind == store.Written && m.version(key) >= c.Version {
				continue
			}
			keys = append(keys, c.Key)
		}
	}
	for len(keys) > 0 {
		part := keys[:min(len(keys), store.MaxMany)]
		keys = keys[len(part):]
		if err := m.fetch(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// fetch brings some keys, with their prefix, up to date.
func (m *Mirror[T]) fetch(ctx context.Context, keys []string) error {
	known := make([]uint64, len(keys))
	for i, key := range keys {
		known[i] = m.version(key[len(m.o.Prefix):])
	}
	items, err := m.st.GetMany(ctx, keys)
	if err != nil {
		return err
	}
	for i, it := range items {
		if it.Version == 0 {
			m.drop(keys[i][len(m.o.Prefix):], known[i])
			continue
		}
		m.take(it)
	}
	return nil
}

// reload loads the mirror until that works, or ctx ends or the store is closed.
func (m *Mirror[T]) reload(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry + rand.N(retry)):
		}
		if err := m.load(ctx); err == nil || errors.Is(err, store.ErrClosed) {
			return
		}
	}
}

// load reads all of the prefix.
func (m *Mirror[T]) load(ctx context.Context) error {
	m.mu.Lock()
	m.round = make(map[string]struct{}, len(m.entries))
	m.mu.Unlock()
	for it, err := range store.All(ctx, m.st, m.o.Prefix) {
		if err != nil {
			return err
		}
		m.take(it)
	}
	m.end(m.o.Now())
	return nil
}

// end ends a round that was complete: what was not seen in it is gone from the
// store. What could not be refreshed because the store was gone gets some grace.
func (m *Mirror[T]) end(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	grace := now.Add(healGrace)
	for key, e := range m.entries {
		_, seen := m.round[key]
		if !m.lost.IsZero() && !e.Expires.IsZero() && e.lives(m.clock(now)) && e.Expires.Before(grace) {
			kept := *e
			kept.Expires = grace
			m.entries[key] = &kept
		} else if !seen {
			m.forget(e)
		}
	}
	if !m.lost.IsZero() {
		m.o.Log.Info().Stringer("after", now.Sub(m.lost).Round(time.Second)).Msg("the store is back")
	}
	m.round, m.lost = nil, time.Time{}
	m.changes++
}
