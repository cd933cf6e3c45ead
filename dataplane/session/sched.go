package session

import (
	"math/bits"
	"time"
)

// tableLen is the number of slots that flows are spread over when a session uses
// several routes at once.
const tableLen = 64

// A table says which route a flow takes. It is frozen once published. A session
// that uses one route has a table of one slot.
type table struct{ slots []*route }

// route returns the route of a flow.
func (t *table) route(flow uint32) *route {
	if len(t.slots) == 1 {
		return t.slots[0]
	}
	return t.slots[flow*0x9e3779b1>>(32-bits.TrailingZeros(tableLen))] // Fibonacci hashing
}

func (t *table) same(o *table) bool {
	if t == nil || o == nil {
		return t == o
	}
	if len(t.slots) != len(o.slots) {
		return false
	}
	for i := range t.slots {
		if t.slots[i] != o.slots[i] {
			return false
		}
	}
	return true
}

// share is how much of a session's flows a route gets when it uses several, by what
// it delivered of what it was given.
type share struct {
	weight          float64 // 0: not yet set, as 1
	sent, delivered uint64  // data packets at the last look
}

// A route that loses more than lossLimit of what it is given gives up a tenth of
// its weight each time that shows, and gets it back slowly: additive increase,
// multiplicative decrease, as Chiu and Jain have it.
const (
	lossLimit   = 0.02
	shareBack   = 0.02
	shareDown   = 0.9
	minWeight   = 0.05
	minForShare = 50 // packets in an interval that say something
)

// update takes the totals of packets sent and of packets that the peer says have
// arrived.
func (s *share) update(sent, delivered uint64) {
	if s.weight == 0 {
		*s = share{weight: 1, sent: sent, delivered: delivered}
		return
	}
	if delivered < s.delivered || sent < s.sent { // the peer began anew
		s.sent, s.delivered = sent, delivered
		return
	}
	n := sent - s.sent
	if n < minForShare {
		return
	}
	loss := 1 - float64(delivered-s.delivered)/float64(n)
	if loss > lossLimit {
		s.weight = max(s.weight*shareDown, minWeight)
	} else {
		s.weight = min(s.weight+shareBack, 1)
	}
	s.sent, s.delivered = sent, delivered
}

func (s *share) get() float64 {
	if s.weight == 0 {
		return 1
	}
	return s.weight
}

// better reports whether a is to be preferred to b: one that answers, then a direct
// one (one AEAD instead of two), then the quicker one.
func better(a, b *route) bool {
	if (a.health.state == StateUp) != (b.health.state == StateUp) {
		return a.health.state == StateUp
	}
	if (a.direct != nil) != (b.direct != nil) {
		return a.direct != nil
	}
	return a.health.rtt != 0 && (b.health.rtt == 0 || a.health.rtt < b.health.rtt)
}

// clearlyBetter is better with hysteresis: a flow does not change its route for a
// few per cent of round-trip time.
func clearlyBetter(a, b *route) bool {
	if !better(a, b) {
		return false
	}
	if a.health.state != b.health.state || (a.direct != nil) != (b.direct != nil) {
		return true
	}
	return b.health.rtt == 0 || b.health.rtt-a.health.rtt > max(b.health.rtt/4, time.Millisecond)
}

// choose makes the table for the usable ones among routes, or nil if there are
// none. old is the table until now: what is still good stays where it is.
func choose(routes []*route, old *table, spread bool) *table {
	var best *route
	var good []*route
	for _, r := range routes {
		if !r.usable {
			continue
		}
		if best == nil || better(r, best) {
			best = r
		}
		if spread && r.health.state == StateUp {
			good = append(good, r)
		}
	}
	switch {
	case best == nil:
		return nil
	case len(good) > 1:
		return spreadOver(good, old)
	}
	if old != nil && len(old.slots) == 1 {
		if now := old.slots[0]; best == now || now.usable && !clearlyBetter(best, now) {
			return old // every tick comes through here
		}
	}
	return &table{slots: []*route{best}}
}

// spreadOver gives each route slots by its weight and moves as few as that takes.
func spreadOver(routes []*route, old *table) *table {
	want := quota(routes)
	t := &table{slots: make([]*route, tableLen)}
	for i := range t.slots {
		if old == nil || len(old.slots) == 0 {
			break
		}
		if r := old.slots[i%len(old.slots)]; want[r] > 0 {
			t.slots[i] = r
			want[r]--
		}
	}
	for i := range t.slots {
		if t.slots[i] != nil {
			continue
		}
		for _, r := range routes {
			if want[r] > 0 {
				t.slots[i] = r
				want[r]--
				break
			}
		}
	}
	return t
}

// quota divides tableLen slots by weight; what rounding leaves goes to the first.
func quota(routes []*route) map[*route]int {
	var sum float64
	for _, r := range routes {
		sum += r.share.get()
	}
	want := make(map[*route]int, len(routes))
	left := tableLen
	for _, r := range routes {
		n := int(r.share.get() / sum * tableLen)
		want[r] = n
		left -= n
	}
	want[routes[0]] += left
	return want
}
