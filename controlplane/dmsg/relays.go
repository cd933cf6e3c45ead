package dmsg

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// A relay that failed is left alone for backoffFirst, doubled with each failure up to
	// backoffMost; both ± 50 %.
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 20 * time.Second
	// drainPause is how long a relay is left alone that asks its clients to move, ± 50 %.
	drainPause = 20 * time.Second
	// steady is how long a session must have lived to count as no failure.
	steady = 30 * time.Second
	// rttHalf is the round trip at which a relay is half as attractive as one next door.
	rttHalf = 50 * time.Millisecond
)

// relays is what the client knows about relays: those that the discovery lists, those
// that were pinned, and how they did.
type relays struct {
	serverType string

	mu     sync.Mutex
	pinned map[cipher.PubKey]*disc.Entry
	listed map[cipher.PubKey]*disc.Entry
	record map[cipher.PubKey]*record
}

// A record says how a relay did.
type record struct {
	failures int
	until    time.Time     // not to be tried by choice before
	rtt      time.Duration // 0: unknown
}

func newRelays(pinned []*disc.Entry, serverType string) *relays {
	r := &relays{serverType: serverType, pinned: map[cipher.PubKey]*disc.Entry{}, record: map[cipher.PubKey]*record{}}
	for _, e := range pinned {
		r.pinned[e.Static] = e
	}
	return r
}

// list replaces what the discovery listed.
func (r *relays) list(entries []*disc.Entry) {
	listed := make(map[cipher.PubKey]*disc.Entry, len(entries))
	for _, e := range entries {
		if e.Server != nil && e.Server.Address != "" {
			listed[e.Static] = e
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed = listed
	for pk, rec := range r.record {
		if r.known(pk) == nil && time.Now().After(rec.until) {
			delete(r.record, pk)
		}
	}
}

// entry returns what is known about the relay pk, or nil. What the discovery says goes
// before what was pinned: addresses change.
func (r *relays) entry(pk cipher.PubKey) *disc.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known(pk)
}

// known is entry with mu held.
func (r *relays) known(pk cipher.PubKey) *disc.Entry {
	if e := r.listed[pk]; e != nil {
		return e
	}
	return r.pinned[pk]
}

// worked records a session with the relay pk.
func (r *relays) worked(pk cipher.PubKey, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(pk).rtt = rtt
}

// ended records that a session with pk has ended; one that was steady makes up for
// failures before it.
func (r *relays) ended(pk cipher.PubKey, lived time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.of(pk)
	if lived >= steady {
		rec.failures = 0
	}
	rec.fail()
}

// failed records that pk could not be connected to.
func (r *relays) failed(pk cipher.PubKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(pk).fail()
}

// drains records that pk wants no clients for a while.
func (r *relays) drains(pk cipher.PubKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(pk).until = time.Now().Add(jitter(drainPause))
}

// of returns the record of pk. mu is held.
func (r *relays) of(pk cipher.PubKey) *record {
	rec := r.record[pk]
	if rec == nil {
		rec = &record{}
		r.record[pk] = rec
	}
	return rec
}

func (rec *record) fail() {
	rec.until = time.Now().Add(jitter(min(backoffFirst<<min(rec.failures, 10), backoffMost)))
	rec.failures++
}

// choose returns the relays that may be connected to now by choice, without those that
// skip names, in random order, in which roomy and near ones tend to come first. again is
// how long until there is one more, or 0 if none waits.
func (r *relays) choose(skip func(cipher.PubKey) bool) (chosen []*disc.Entry, again time.Duration) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	rank := map[*disc.Entry]float64{}
	consider := func(pk cipher.PubKey, e *disc.Entry, weight float64) {
		if skip(pk) {
			return
		}
		rec := r.record[pk]
		if rec == nil {
			rec = &record{}
		}
		if wait := rec.until.Sub(now); wait > 0 {
			if again == 0 || wait < again {
				again = wait
			}
			return
		}
		if rec.rtt > 0 {
			weight *= float64(rttHalf) / float64(rttHalf+rec.rtt)
		}
		// Weighted sampling without replacement: Efraimidis and Spirakis, 2006.
		rank[e] = math.Log(1-rand.Float64()) / weight
		chosen = append(chosen, e)
	}
	for pk, e := range r.listed {
		if r.serverType == "" || e.Server.ServerType == r.serverType || r.pinned[pk] != nil {
			consider(pk, e, float64(max(e.Server.AvailableSessions, 1)))
		}
	}
	for pk, e := range r.pinned {
		if r.listed[pk] == nil {
			consider(pk, e, 1) // behind those of which the discovery knows that they live
		}
	}
	slices.SortFunc(chosen, func(a, b *disc.Entry) int {
		if rank[a] > rank[b] {
			return -1
		}
		return 1
	})
	return chosen, again
}

// order shuffles routes and puts those last whose relay failed lately.
func (r *relays) order(routes []route) {
	now := time.Now()
	rand.Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
	r.mu.Lock()
	defer r.mu.Unlock()
	late := func(rt route) int {
		if rec := r.record[rt.server]; rec != nil && rec.until.After(now) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(routes, func(a, b route) int { return late(a) - late(b) })
}

// jitter returns d ± 50 %, so that clients that were thrown off together do not come
// back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
