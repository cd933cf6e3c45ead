package router

import (
	"math"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Penalties, in the unit of graph.Path.Cost: ms. They halve every halfLife.
const (
	halfLife = 2 * time.Minute

	penaltyNoLink    = 4000 // a visor said that it has no such link
	penaltyRefused   = 4000 // a visor carries nothing, or obeys another setup node
	penaltySilent    = 2000 // a visor that does not answer
	penaltyDead      = 200  // on the path of a route that has died: one of its visors did it
	penaltyStillborn = 100  // likewise, a route on which nothing ever came back

	// notable is a penalty for which it is worth looking for other paths.
	notable = 50
	// maxPenalties bounds what is remembered; the least is forgotten first.
	maxPenalties = 4096
)

// A subject is what a penalty is for: a visor, or a link between two, the smaller key
// first.
type subject struct{ a, b cipher.PubKey }

func visor(pk cipher.PubKey) subject { return subject{a: pk} }

func linkBetween(a, b cipher.PubKey) subject {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return subject{a, b}
}

// penalties remember what has failed. They may be used concurrently.
type penalties struct {
	now func() time.Time

	mu  sync.Mutex
	all map[subject]penalty
}

type penalty struct {
	amount float64
	at     time.Time
}

func (p penalty) left(now time.Time) float64 {
	return p.amount * math.Exp2(-float64(max(0, now.Sub(p.at)))/float64(halfLife))
}

func newPenalties() *penalties { return &penalties{now: time.Now, all: map[subject]penalty{}} }

// add adds to the penalty of s.
func (p *penalties) add(s subject, amount float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	old, known := p.all[s]
	if !known && len(p.all) >= maxPenalties {
		p.forget(now)
	}
	// What fails again and again does not get worse for ever: it must come back within
	// minutes once it works.
	p.all[s] = penalty{min(old.left(now)+amount, 2*penaltyNoLink), now}
}

// forget drops what has faded, or else the least.
func (p *penalties) forget(now time.Time) {
	var least subject
	smallest := math.Inf(1)
	for s, q := range p.all {
		left := q.left(now)
		if left < 1 {
			delete(p.all, s)
		}
		if left < smallest {
			least, smallest = s, left
		}
	}
	delete(p.all, least)
}

// of returns the penalty of s.
func (p *penalties) of(s subject) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, ok := p.all[s]
	if !ok {
		return 0
	}
	return q.left(p.now())
}

// path returns the penalties of all links and of the visors in the middle of a path.
func (p *penalties) path(hops []graph.Hop) (sum float64) {
	for i, h := range hops {
		sum += p.of(linkBetween(h.From, h.To))
		if i > 0 {
			sum += p.of(visor(h.From))
		}
	}
	return sum
}

// suspects returns keys in the middle of a path that it would have to do without to be
// rid of its notable penalties. Of a link one end is enough: the second one where far
// is set and both are in the middle.
func (p *penalties) suspects(hops []graph.Hop, far bool) (keys []cipher.PubKey) {
	for i, h := range hops {
		last := i == len(hops)-1
		if i > 0 && p.of(visor(h.From)) >= notable {
			keys = append(keys, h.From)
		}
		if p.of(linkBetween(h.From, h.To)) < notable {
			continue
		}
		switch {
		case i == 0 && last: // a direct path has no middle
		case i == 0 || far && !last:
			keys = append(keys, h.To)
		default:
			keys = append(keys, h.From)
		}
	}
	return keys
}
