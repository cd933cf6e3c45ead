// Package mirror keeps in memory, decoded, what a store holds under a prefix, so
// that services answer without asking the store, and go on answering while it is
// gone. What this process writes through a mirror can be read from it at once; what
// others write comes by the store's watch.
package mirror

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/store"
)

// When the store is gone entries cannot be refreshed, so their time stops.
const (
	// maxStale is how long it stops at most.
	maxStale = 10 * time.Minute
	// healGrace is how long entries that the store has let expire meanwhile live on
	// after it is back: visors refresh theirs each minute.
	healGrace = 2 * time.Minute
	// sweepEvery is how often what has expired is forgotten, and Changed told of it.
	sweepEvery = 5 * time.Second
)

// Options say what is mirrored.
type Options[T any] struct {
	Prefix string // of the keys in the store; it ends in a slash
	// Decode makes a value of an item's bytes, which it may keep. What it refuses is
	// left out with a warning.
	Decode func(key string, value []byte) (T, error)
	// Changed, if not nil, hears of each entry that came, changed or went, one at a
	// time and the last state last. It is called with the mirror's lock held: it
	// must return quickly and not call the mirror.
	Changed func(key string, value T, present bool)
	Now     func() time.Time
	Log     zerolog.Logger
}

// An Entry is a decoded item. Value is shared: read only.
type Entry[T any] struct {
	Key     string // without the prefix
	Value   T
	Version uint64    // of the store
	Expires time.Time // zero: never
}

func (e *Entry[T]) lives(at time.Time) bool { return e.Expires.IsZero() || at.Before(e.Expires) }

// A Mirror is a prefix of a store in memory. Its methods may be called
// concurrently.
type Mirror[T any] struct {
	o  Options[T]
	st store.Store

	mu      sync.RWMutex
	entries map[string]*Entry[T]
	round   map[string]struct{} // keys seen since the reading of the store began; nil outside of that
	lost    time.Time           // since when the store is gone; zero: it is not
	changes uint64
}

// New returns an empty mirror of st. Run fills it.
func New[T any](st store.Store, o Options[T]) *Mirror[T] {
	return &Mirror[T]{o: o, st: st, entries: make(map[string]*Entry[T])}
}

// Get returns the entry under key, without the prefix.
func (m *Mirror[T]) Get(key string) (Entry[T], bool) {
	now := m.o.Now()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e := m.entries[key]; e != nil && e.lives(m.clock(now)) {
		return *e, true
	}
	return Entry[T]{}, false
}

// All returns the entries that want says yes to (nil: all), in no order. want is
// called with the mirror's lock held.
func (m *Mirror[T]) All(want func(*Entry[T]) bool) []Entry[T] {
	now := m.o.Now()
	m.mu.RLock()
	defer m.mu.RUnlock()
	at := m.clock(now)
	var out []Entry[T]
	for _, e := range m.entries {
		if e.lives(at) && (want == nil || want(e)) {
			out = append(out, *e)
		}
	}
	return out
}

// Len returns how many entries there are, some that have just expired among them.
func (m *Mirror[T]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.entries)
}

// Changes returns a count that rises with every change: what was made of the
// entries at one count is good until it differs. Expiry counts when it is noticed,
// seconds later.
func (m *Mirror[T]) Changes() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.changes
}

// Lost returns since when the store is gone; zero: it is not.
func (m *Mirror[T]) Lost() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lost
}

// Put writes value under key to the store, as store.Store.Put does, and to the
// mirror.
func (m *Mirror[T]) Put(ctx context.Context, key string, value []byte, ttl time.Duration, cond store.Cond) error {
	version, err := m.st.Put(ctx, m.o.Prefix+key, value, ttl, cond)
	if err != nil {
		return err
	}
	it := store.Item{Key: m.o.Prefix + key, Value: value, Version: version}
	if ttl > 0 {
		it.Expires = m.o.Now().Add(ttl)
	}
	m.take(it)
	return nil
}

// Delete removes key from the store, as store.Store.Delete does, and from the
// mirror.
func (m *Mirror[T]) Delete(ctx context.Context, key string, cond store.Cond) error {
	known := m.version(key)
	if err := m.st.Delete(ctx, m.o.Prefix+key, cond); err != nil {
		return err
	}
	m.drop(key, known)
	return nil
}

// Refresh reads key from the store into the mirror, for a caller whose write met a
// conflict.
func (m *Mirror[T]) Refresh(ctx context.Context, key string) error {
	known := m.version(key)
	it, err := m.st.Get(ctx, m.o.Prefix+key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		m.drop(key, known)
		return nil
	case err != nil:
		return err
	}
	m.take(it)
	return nil
}

// clock returns the time by which entries expire. mu is held.
func (m *Mirror[T]) clock(now time.Time) time.Time {
	if m.lost.IsZero() || now.Before(m.lost) {
		return now
	}
	if stopped := now.Add(-maxStale); stopped.After(m.lost) {
		return stopped
	}
	return m.lost
}

// version returns the version of what is known under key, or 0.
func (m *Mirror[T]) version(key string) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e := m.entries[key]; e != nil {
		return e.Version
	}
	return 0
}

// take puts an item of the store into the mirror, unless a newer one is there.
func (m *Mirror[T]) take(it store.Item) {
	key := it.Key[len(m.o.Prefix):]
	if m.has(key, it.Version) {
		return
	}
	v, err := m.o.Decode(key, it.Value)
	if err != nil {
		m.o.Log.Warn().Err(err).Str("key", it.Key).Msg("what the store holds is left out")
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.entries[key]; old != nil && old.Version >= it.Version {
		return
	}
	m.entries[key] = &Entry[T]{Key: key, Value: v, Version: it.Version, Expires: it.Expires}
	m.tell(key, v, true)
}

// has says whether key is of this version, or a newer one, already. For a round that
// counts as seen.
func (m *Mirror[T]) has(key string, version uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.round != nil {
		m.round[key] = struct{}{}
	}
	e := m.entries[key]
	return e != nil && e.Version >= version
}

// drop forgets key where it is of this version or an older one.
func (m *Mirror[T]) drop(key string, version uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.entries[key]; old != nil && old.Version <= version {
		m.forget(old)
	}
}

// forget removes e. mu is held.
func (m *Mirror[T]) forget(e *Entry[T]) {
	delete(m.entries, e.Key)
	var none T
	m.tell(e.Key, none, false)
}

// tell notes a change. mu is held.
func (m *Mirror[T]) tell(key string, v T, present bool) {
	m.changes++
	if m.o.Changed != nil {
		m.o.Changed(key, v, present)
	}
}

// sweep forgets what has expired.
func (m *Mirror[T]) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.clock(now)
	for _, e := range m.entries {
		if !e.lives(at) {
			m.forget(e)
		}
	}
}

// lose notes that the store is gone.
func (m *Mirror[T]) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost.IsZero() {
		m.lost = m.o.Now()
		m.o.Log.Warn().Msg("the store is not available; answers come from memory")
	}
}
