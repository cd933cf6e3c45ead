package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// findTimeout is what a PathFinder has for an answer.
	findTimeout = 3 * time.Second
	// spare is how many paths are asked for beyond those that are needed.
	spare = 4
	// widenings is how often other paths are asked for where something bad is known
	// about those that are there.
	widenings = 3
)

// ErrNoPath says that no deployment knows a path that the policy allows.
var ErrNoPath = errors.New("router: no path that the policy allows")

// errNoFinder says that no path finder has answered.
var errNoFinder = errors.New("router: no path finder answers")

// errNotDisjoint says that every path shares its visors with routes that there are.
var errNotDisjoint = errors.New("router: no path that is disjoint from the routes in use")

// A candidate is a path in a deployment.
type candidate struct {
	member Member
	path   graph.Path
	not    []cipher.PubKey // setup nodes that have failed on it
}

// key names the visors of the path, in order.
func (c *candidate) key() string {
	var b strings.Builder
	b.WriteString(c.member.Name)
	for _, h := range c.path.Hops {
		b.Write(h.To[:])
	}
	return b.String()
}

// middle returns the visors between the ends.
func middle(hops []graph.Hop) (keys []cipher.PubKey) {
	for _, h := range hops[min(1, len(hops)):] {
		keys = append(keys, h.From)
	}
	return keys
}

// A chooser goes through the paths to one peer, best first, asking for more as it
// learns.
type chooser struct {
	r      *Router
	peer   cipher.PubKey
	policy Policy
	// taken are the visors of routes that there are, and how many of these go there. A
	// path that shares all or, where strict is set, any of them is no use, unless desperate
	// says that none of the routes does its work: then the visor that more of them share is
	// more likely the one to blame.
	taken     map[cipher.PubKey]int
	strict    bool
	desperate bool

	// before are paths of an earlier search, for when no finder answers; all is what
	// this one has seen.
	before, all []candidate

	found   []candidate
	known   map[string]bool
	tried   map[string]bool
	failing map[string]bool // deployments whose setup nodes fail
	asked   int
	err     error // why a finder gave nothing
}

func (r *Router) newChooser(peer cipher.PubKey, p Policy) *chooser {
	return &chooser{
		r: r, peer: peer, policy: p, taken: map[cipher.PubKey]int{},
		known: map[string]bool{}, tried: map[string]bool{}, failing: map[string]bool{},
	}
}

// next returns the best path that has not been tried. Errors: ErrNoPath, with what
// finders said; errNotDisjoint.
func (c *chooser) next(ctx context.Context) (*candidate, error) {
	if c.asked == 0 {
		c.ask(ctx, c.policy.Avoid)
		if len(c.found) == 0 && len(c.taken) > 0 {
			return nil, errNotDisjoint
		}
	}
	best := c.best()
	for c.asked <= widenings && (best == nil || c.r.penalties.path(best.path.Hops) >= notable) {
		avoid := slices.Clone(c.policy.Avoid)
		for i := range c.found {
			avoid = append(avoid, c.r.penalties.suspects(c.found[i].path.Hops, c.asked%2 == 0)...)
		}
		if avoid = sorted(avoid); len(avoid) == len(c.policy.Avoid) || len(avoid) > maxKeys {
			break
		}
		c.ask(ctx, avoid)
		best = c.best()
	}
	if best == nil {
		switch {
		case len(c.taken) > 0 && len(c.tried) == 0:
			return nil, errNotDisjoint
		case c.err != nil && answered(c.err):
			return nil, fmt.Errorf("%w to %s: %w", ErrNoPath, c.peer, c.err)
		case c.err != nil:
			return nil, fmt.Errorf("%w to %s: %w: %w", ErrNoPath, c.peer, errNoFinder, c.err)
		}
		return nil, fmt.Errorf("%w to %s", ErrNoPath, c.peer)
	}
	c.tried[best.key()] = true
	return best, nil
}

// best returns the cheapest of what has been found and not tried.
func (c *chooser) best() (best *candidate) {
	least := 0.0
	for i := range c.found {
		k := &c.found[i]
		if c.tried[k.key()] || c.failing[k.member.Name] {
			continue
		}
		cost := k.path.Cost + c.r.penalties.path(k.path.Hops) + c.sharing(k)
		if best == nil || cost < least {
			best, least = k, cost
		}
	}
	return best
}

// sharing returns what a path costs for the visors that it shares with others: one that
// is not disjoint is better than none.
func (c *chooser) sharing(k *candidate) float64 {
	n := 0
	for _, pk := range middle(k.path.Hops) {
		n += c.taken[pk]
	}
	return 10_000 * float64(n)
}

// shared returns how many visors of a path other routes pass.
func (c *chooser) shared(k *candidate) (n int) {
	for _, pk := range middle(k.path.Hops) {
		if c.taken[pk] > 0 {
			n++
		}
	}
	return n
}

// useful reports whether a path would bring something that the routes in use do not.
func (c *chooser) useful(k *candidate) bool {
	n := c.shared(k)
	if c.strict {
		return n == 0
	}
	return len(c.taken) == 0 || c.desperate || n < len(middle(k.path.Hops))
}

// ask asks all finders for paths without the keys of avoid.
func (c *chooser) ask(ctx context.Context, avoid []cipher.PubKey) {
	c.asked++
	q := graph.Query{
		From: c.r.cfg.Key, To: c.peer, MinHops: c.policy.MinHops, MaxHops: c.policy.MaxHops,
		K: c.policy.Routes + spare, Avoid: avoid, Prefer: c.policy.Prefer,
	}
	cands, err := c.r.find(ctx, q)
	if err != nil && c.err == nil {
		c.err = err
	}
	c.all = append(c.all, cands...)
	if len(cands) == 0 && err != nil && !answered(err) {
		for _, k := range c.before {
			if fits(k.path, q) {
				cands = append(cands, k)
			}
		}
	}
	for _, k := range cands {
		if name := k.key(); !c.known[name] && c.useful(&k) {
			c.known[name] = true
			c.found = append(c.found, k)
		}
	}
}

// answered reports whether a finder's error is its answer.
func answered(err error) bool {
	return errors.Is(err, ErrNoPath) || errors.Is(err, deployment.ErrNotFound) || errors.Is(err, deployment.ErrBadRequest)
}

// find asks the finders of all deployments at once, and leaves out what contradicts q.
// err is one finder's reason to give nothing.
func (r *Router) find(ctx context.Context, q graph.Query) (all []candidate, err error) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	members := r.members()
	found, faults := make([][]graph.Path, len(members)), make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { found[i], faults[i] = m.Finder.Paths(ctx, q) })
	}
	wg.Wait()
	for i, m := range members {
		for _, p := range found[i] {
			if fits(p, q) {
				all = append(all, candidate{member: m, path: p})
			}
		}
		err = cmp.Or(err, faults[i])
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.path.Cost, b.path.Cost) })
	return all, err
}

// fits reports whether p answers q: a service may err, or lie.
func fits(p graph.Path, q graph.Query) bool {
	if n := len(p.Hops); n < max(1, q.MinHops) || n > q.MaxHops {
		return false
	}
	at := q.From
	seen := map[cipher.PubKey]bool{at: true}
	for i, h := range p.Hops {
		if h.From != at || seen[h.To] {
			return false
		}
		at = h.To
		seen[at] = true
		if i < len(p.Hops)-1 && slices.Contains(q.Avoid, at) {
			return false
		}
	}
	return at == q.To
}
