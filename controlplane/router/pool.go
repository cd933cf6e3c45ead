package router

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// maxPools bounds what a Router keeps: (peer, policy) pairs in use.
const maxPools = 4096

var (
	errTooMany = errors.New("router: too many peers and policies in use at once")
	errClosed  = errors.New("router: closed")
)

// A poolKey names a pool: the peer, and its policy, or "" for all that accept a direct
// link.
type poolKey struct {
	peer   cipher.PubKey
	policy string
}

// A pool is the routes of one class of sessions to one peer. Router.mu guards it.
type pool struct {
	key    poolKey
	peer   cipher.PubKey
	class  uint32
	policy Policy // normal; with 2 hops at least
	routes []*kept
	known  []candidate // paths of the last search that found some
	gone   bool        // dropped; nobody adds to it any more

	building bool
	builds   int           // how many have ended
	err      error         // what came of the last one
	changed  chan struct{} // closed and replaced when one ends
	failures int           // in a row
	retryAt  time.Time     // no build in the background before

	used     time.Time // last asked for, or seen carrying something
	traffic  uint64    // data packets when last looked at
	directAt time.Time // since when a direct link does, for class 0; zero: it does not
}

// A kept is a route that the router has made. Router.mu guards it.
type kept struct {
	p          *pool
	id         uint64
	deployment string
	node       cipher.PubKey
	hops       []graph.Hop
	state      session.State
	since      time.Time
	changed    time.Time // when state did
	rtt        time.Duration
	noted      bool // its death has been held against its path
	gone       bool // out of its pool
}

// poolFor returns the pool of a peer and a normal policy, making one where there is
// none. ids are routes that no longer keep to the policy: the caller removes them.
func (r *Router) poolFor(pk cipher.PubKey, p Policy) (q *pool, ids []uint64, err error) {
	key := poolKey{peer: pk}
	class := uint32(0)
	if !p.direct() {
		key.policy, class = p.key(), newClass()
	}
	p.MinHops = max(p.MinHops, 2)
	p.MaxHops = max(p.MaxHops, p.MinHops)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, errClosed
	}
	if q = r.pools[key]; q == nil {
		if len(r.pools) >= maxPools {
			return nil, nil, errTooMany
		}
		q = &pool{key: key, peer: pk, class: class, policy: p, changed: make(chan struct{})}
		r.pools[key] = q
	} else if class == 0 {
		q.policy = q.policy.merge(p)
		ids = r.expelLocked(q)
	}
	q.used = now
	return q, ids, nil
}

// newClass returns a number for a class: 31 bits at random, not 0, so that two ends
// that choose at the same time do not meet.
func newClass() uint32 { return rand.Uint32N(1<<31-1) + 1 }

// expelLocked takes the routes out of q that go through keys to avoid.
func (r *Router) expelLocked(q *pool) (ids []uint64) {
	for _, k := range slices.Clone(q.routes) {
		if slices.ContainsFunc(middle(k.hops), func(pk cipher.PubKey) bool { return slices.Contains(q.policy.Avoid, pk) }) {
			ids = append(ids, k.id)
			r.forgetLocked(k)
		}
	}
	return ids
}

// up reports whether something of q carries packets.
func (p *pool) up() bool {
	return slices.ContainsFunc(p.routes, func(k *kept) bool { return k.state == session.StateUp })
}

// good returns how many routes of p are not in trouble.
func (p *pool) good() (n int) {
	for _, k := range p.routes {
		if k.state == session.StateUp {
			n++
		}
	}
	return n
}

// wanted returns how many routes p should have: one to use and one that is kept warm.
// Where traffic is spread over several, they stand in for each other, for a session
// spreads over all that it has. A direct link is one of them.
func (p *pool) wanted() int {
	n := max(p.policy.Routes, 2)
	switch {
	case p.directAt.IsZero():
		return n
	case p.policy.Routes > 1:
		return n - 1
	}
	return 0
}

// taken are the visors in the middle of p's routes, and how many of them go there.
func (p *pool) taken() map[cipher.PubKey]int {
	m := map[cipher.PubKey]int{}
	for _, k := range p.routes {
		if k.state == session.StateDead {
			continue
		}
		for _, pk := range middle(k.hops) {
			m[pk]++
		}
	}
	return m
}

// noteLocked takes a route's state, and whether it has gone. Its death is held against
// the visors on its path, unless it was closed.
func (r *Router) noteLocked(k *kept, s session.State, gone, closed bool) {
	if k.state != s || gone {
		k.state, k.changed = s, time.Now()
		k.p.retryAt = time.Time{} // there is something new to do
	}
	if (gone || s == session.StateDead) && !k.noted && !closed {
		k.noted = true
		for _, pk := range middle(k.hops) {
			r.penalties.add(visor(pk), penaltyDead)
		}
	}
	if gone {
		r.forgetLocked(k)
	}
}

// forgetLocked takes k out of its pool.
func (r *Router) forgetLocked(k *kept) {
	k.gone = true
	k.p.routes = slices.DeleteFunc(k.p.routes, func(o *kept) bool { return o == k })
	delete(r.byRoute, k.id)
}

// dropLocked takes p out and returns its routes, which the caller removes.
func (r *Router) dropLocked(p *pool) (ids []uint64) {
	for _, k := range slices.Clone(p.routes) {
		ids = append(ids, k.id)
		r.forgetLocked(k)
	}
	p.gone = true
	delete(r.pools, p.key)
	return ids
}

// over reports whether k is not worth keeping: dead, or without its first link for as
// long as a dead one is silent.
func (k *kept) over(now time.Time) bool {
	return k.state == session.StateDead || k.state == session.StateWaiting && now.Sub(k.changed) > 10*time.Second
}

// worst returns the route of p that it can best do without.
func (p *pool) worst() *kept {
	return slices.MaxFunc(p.routes, func(a, b *kept) int {
		switch up := a.state == session.StateUp; {
		case up == (b.state == session.StateUp):
			return cmp.Compare(a.rtt, b.rtt)
		case up:
			return -1
		}
		return 1
	})
}
