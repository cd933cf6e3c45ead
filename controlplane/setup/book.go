package setup

import (
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A book lists the labels that one setup node has had a visor give out: what counts
// against its quota, and what it may take back.
type book struct {
	node cipher.PubKey

	mu      sync.Mutex
	entries map[packet.Label]entry
	pending int                   // entries that are reservations
	sources map[cipher.PubKey]int // entries that are routes, by their source
	swept   time.Time
}

// What a label is for.
type entryKind uint8

const (
	ofReservation entryKind = iota
	ofRule
	ofRoute
)

type entry struct {
	kind  entryKind
	until time.Time // of a reservation
	route uint64    // session.RouteInfo.ID
	// source is whose route it is.
	source cipher.PubKey
}

// sweepEvery is how often a book is compared with the label table, where rules expire
// by themselves.
const sweepEvery = 10 * time.Second

// reserved reports whether l is reserved. The table has the last word.
func (b *book) reserved(l packet.Label) bool {
	e, ok := b.entries[l]
	return ok && e.kind == ofReservation
}

// room reports whether n more labels may be reserved at now. What has expired leaves
// the book first, from time to time, or at once where room is short.
func (b *book) room(n int, now time.Time, lim HopLimits, t Table) bool {
	b.tidy(b.fits(n, lim), now, t)
	return b.fits(n, lim)
}

// admits reports whether one more route of source may end here at now.
func (b *book) admits(source cipher.PubKey, now time.Time, lim HopLimits, t Table) bool {
	b.tidy(b.sources[source] < lim.Source, now, t)
	return b.sources[source] < lim.Source
}

// tidy sweeps from time to time, and where room is short at most once a second.
func (b *book) tidy(roomy bool, now time.Time, t Table) {
	if age := now.Sub(b.swept); age >= sweepEvery || !roomy && age >= sweepEvery/10 {
		b.sweep(now, t)
	}
}

func (b *book) fits(n int, lim HopLimits) bool {
	return len(b.entries)+n <= lim.Labels && b.pending+n <= lim.Reserved
}

// set notes what l is for from now on, drop that it is for nothing.
func (b *book) set(l packet.Label, e entry) {
	b.drop(l)
	b.entries[l] = e
	switch e.kind {
	case ofReservation:
		b.pending++
	case ofRoute:
		b.sources[e.source]++
	}
}

func (b *book) drop(l packet.Label) {
	e, ok := b.entries[l]
	switch {
	case !ok:
		return
	case e.kind == ofReservation:
		b.pending--
	case e.kind == ofRoute:
		if b.sources[e.source]--; b.sources[e.source] == 0 {
			delete(b.sources, e.source)
		}
	}
	delete(b.entries, l)
}

func (b *book) sweep(now time.Time, t Table) {
	b.swept = now
	live := map[packet.Label]bool{}
	for _, r := range t.Rules() {
		live[r.InLabel] = true
	}
	for l, e := range b.entries {
		if e.kind == ofReservation && now.After(e.until) || e.kind != ofReservation && !live[l] {
			b.drop(l)
		}
	}
}

// free takes back what l stands for, if it is in the book.
func (b *book) free(l packet.Label, t Table, s Sessions) {
	e, ok := b.entries[l]
	if !ok {
		return
	}
	b.drop(l)
	switch e.kind {
	case ofReservation:
		t.Release(l)
	case ofRule:
		_ = t.RemoveRule(l) // may have expired
	case ofRoute:
		_ = s.RemoveRoute(e.route) // likewise
	}
}
