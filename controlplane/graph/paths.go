package graph

import (
	"cmp"
	"slices"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Bounds of a query; what asks for more gets these.
const (
	MaxK    = 16 // paths
	MaxHops = 16 // of one path, as setup nodes install them
)

// A Query asks for paths.
type Query struct {
	From, To cipher.PubKey
	// MinHops and MaxHops bound the length of each path; 0: 1 and the constant
	// MaxHops.
	MinHops, MaxHops int
	// K is how many paths are wanted at most; 0: one.
	K int
	// Avoid are keys that no path goes through. Prefer are keys through which paths
	// go where that costs less than twice as much.
	Avoid, Prefer []cipher.PubKey
	// Types are the types of transports that may be used; none: all.
	Types []string
}

// A Hop is one step of a path.
type Hop struct {
	ID       TransportID
	From, To cipher.PubKey
	Type     string
}

// A Path leads from the source to the destination and goes through no key twice.
type Path struct {
	Hops []Hop
	Cost float64 // the sum of its edges' costs
}

// A step is a Hop by its indices.
type step struct{ from, to, edge int32 }

// A found path, with what it costs the query: preferred keys make that less than the
// cost of its edges.
type found struct {
	steps  []step
	weight float64
}

// Paths returns up to q.K paths, the cheapest first (by what preferred keys make of
// the cost). They have no key but the ends in common as far as that can be; then
// come, up to q.K, others that share as little as can be. Without a path the result
// is empty.
//
// On 10,000 keys with 50,000 edges it takes some 0.2 ms, with few hops allowed up to 5 ms;
// without such bounds that grows with the square root of the keys.
func (g *Graph) Paths(q Query) []Path {
	q.MinHops = max(q.MinHops, 1)
	if q.MaxHops <= 0 || q.MaxHops > MaxHops {
		q.MaxHops = MaxHops
	}
	q.K = min(max(q.K, 1), MaxK)
	if q.From == q.To || q.MinHops > q.MaxHops {
		return nil
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	from, ok := g.index[q.From]
	if !ok {
		return nil
	}
	to, ok := g.index[q.To]
	if !ok {
		return nil
	}
	s := g.newSearch(q, from, to)
	defer s.release()
	return g.export(s.paths())
}

// export turns indices into keys.
func (g *Graph) export(fs []found) []Path {
	slices.SortStableFunc(fs, func(a, b found) int {
		if c := cmp.Compare(a.weight, b.weight); c != 0 {
			return c
		}
		return cmp.Compare(len(a.steps), len(b.steps))
	})
	paths := make([]Path, len(fs))
	for i, f := range fs {
		p := &paths[i]
		p.Hops = make([]Hop, len(f.steps))
		for j, st := range f.steps {
			e := &g.edges[st.edge]
			p.Hops[j] = Hop{ID: e.id, From: g.nodes[st.from].pk, To: g.nodes[st.to].pk, Type: g.types[e.typ].name}
			p.Cost += e.cost
		}
	}
	return paths
}
