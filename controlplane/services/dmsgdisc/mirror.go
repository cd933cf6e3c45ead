package dmsgdisc

import (
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// When the store is gone entries cannot be refreshed, so their time stops.
const (
	// maxStale is how long it stops at most.
	maxStale = 10 * time.Minute
	// healGrace is how long entries that the store has let expire meanwhile are
	// given out after it is back: servers publish each minute.
	healGrace = 2 * time.Minute
)

// A mirror holds in memory what the store holds. It may be used concurrently.
type mirror struct {
	mu      sync.RWMutex
	items   map[cipher.PubKey]*item
	round   map[cipher.PubKey]struct{} // keys put since begin; nil outside of a round
	lost    time.Time                  // since when the store is gone; zero: it is not
	servers uint64                     // counts changes of servers, for lists
	clients uint64                     // counts changes of clients
}

func newMirror() *mirror { return &mirror{items: make(map[cipher.PubKey]*item)} }

// clock returns the time by which entries expire.
func (m *mirror) clock(now time.Time) time.Time {
	if m.lost.IsZero() || now.Before(m.lost) {
		return now
	}
	if stopped := now.Add(-maxStale); stopped.After(m.lost) {
		return stopped
	}
	return m.lost
}

// get returns the entry of pk, or nil.
func (m *mirror) get(pk cipher.PubKey, now time.Time) *item {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if it := m.items[pk]; it != nil && it.visible(m.clock(now)) {
		return it
	}
	return nil
}

// version returns the version of what is known of pk, or 0.
func (m *mirror) version(pk cipher.PubKey) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if it := m.items[pk]; it != nil {
		return it.version
	}
	return 0
}

// have says whether the item of pk is of this version already. For a round that counts
// as put.
func (m *mirror) have(pk cipher.PubKey, version uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.items[pk]
	if it == nil || it.version != version {
		return false
	}
	if m.round != nil {
		m.round[pk] = struct{}{}
	}
	return true
}

// len returns how many entries there are, deleted ones among them.
func (m *mirror) len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.items)
}

// put takes an item unless a newer one is there.
func (m *mirror) put(it *item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.items[it.pk]
	if m.round != nil {
		m.round[it.pk] = struct{}{}
	}
	if old != nil && old.version >= it.version {
		return
	}
	m.items[it.pk] = it
	m.changed(old)
	m.changed(it)
}

// changed notes that lists with it are out of date. it may be nil.
func (m *mirror) changed(it *item) {
	if it == nil || len(it.raw) == 0 {
		return
	}
	if it.server {
		m.servers++
	}
	if it.client {
		m.clients++
	}
}

// drop forgets pk where it is of this version or an older one.
func (m *mirror) drop(pk cipher.PubKey, version uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.items[pk]; old != nil && old.version <= version {
		delete(m.items, pk)
		m.changed(old)
	}
}

// sweep forgets what has expired.
func (m *mirror) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.clock(now)
	for pk, it := range m.items {
		if !it.lives(at) {
			delete(m.items, pk)
			m.changed(it)
		}
	}
}

// lose notes that the store is gone.
func (m *mirror) lose(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost.IsZero() {
		m.lost = now
	}
}

// isLost says since when the store is gone; zero: it is not.
func (m *mirror) isLost() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lost
}

// begin starts a round, in which everything that the store holds is put.
func (m *mirror) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.round = make(map[cipher.PubKey]struct{}, len(m.items))
}

// end ends a round that was complete: what was not put in it is gone from the
// store. What was to expire while the store was gone, and could not be refreshed,
// gets some grace.
func (m *mirror) end(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for pk, it := range m.items {
		if _, ok := m.round[pk]; ok {
			continue
		}
		if !m.lost.IsZero() && !it.expires.IsZero() && it.visible(m.clock(now)) && it.expires.Before(now.Add(healGrace)) {
			kept := *it
			kept.expires = now.Add(healGrace)
			m.items[pk] = &kept
			continue
		}
		delete(m.items, pk)
		m.changed(it)
	}
	m.round, m.lost = nil, time.Time{}
	m.servers++
	m.clients++
}

// collect returns the items that are visible and for which want says yes, in no
// order.
func (m *mirror) collect(now time.Time, want func(*item) bool) (found []*item) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at := m.clock(now)
	for _, it := range m.items {
		if it.visible(at) && want(it) {
			found = append(found, it)
		}
	}
	return found
}

// changes returns a count that rises with each change of the kind k.
func (m *mirror) changes(k kind) (n uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k&ofServers != 0 {
		n += m.servers
	}
	if k&ofClients != 0 {
		n += m.clients
	}
	return n
}
