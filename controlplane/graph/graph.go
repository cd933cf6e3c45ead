package graph

import (
	"slices"
	"sync"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Edge is a transport between two visors. It can be used either way, at the same
// cost.
type Edge struct {
	ID   TransportID
	A, B cipher.PubKey
	Type string // "stcpr", "sudph", "stcp", "dmsg"
	// Cost is what it costs to cross; milliseconds by custom. What is not above 0, or
	// no number, counts as MinCost.
	Cost float64
}

// MinCost is the least that an edge costs.
const MinCost = 1e-3

// A Graph is a set of edges. All methods may be called concurrently; a query sees
// one state of the graph.
type Graph struct {
	scratch sync.Pool // *scratch

	mu    sync.RWMutex
	index map[cipher.PubKey]int32
	nodes []node
	free  []int32 // nodes that nobody uses
	ids   map[TransportID]int32
	edges []edge
	gone  []int32 // edges that nobody uses
	types []use
	named map[string]int32 // types, by name
	spare []int32          // types that nobody uses
}

// A use is a type and how many edges are of it: types are words of whoever brings
// edges, so those that no edge has are forgotten.
type use struct {
	name  string
	edges int
}

// A node is a visor: its key and the edges that end there.
type node struct {
	pk   cipher.PubKey
	arcs []arc
}

// An arc is an edge as one of its ends sees it.
type arc struct{ to, edge int32 }

// An edge is an Edge by its nodes.
type edge struct {
	id   TransportID
	a, b int32
	typ  int32 // of Graph.types
	cost float64
}

// New returns an empty graph.
func New() *Graph {
	return &Graph{index: make(map[cipher.PubKey]int32), ids: make(map[TransportID]int32), named: make(map[string]int32)}
}

// Set adds e, or replaces the edge of that ID. An edge from a key to itself is
// removed instead: no path uses it.
func (g *Graph) Set(e Edge) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set(e)
}

// A Change sets an edge or, if Gone, removes that of its ID.
type Change struct {
	Edge
	Gone bool
}

// Update makes changes, in their order, without a query in between: queries wait once
// for all of them.
func (g *Graph) Update(changes []Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		if !c.Gone {
			g.set(c.Edge)
		} else if at, ok := g.ids[c.ID]; ok {
			g.remove(at)
		}
	}
}

// set is Set. mu is held.
func (g *Graph) set(e Edge) {
	if !(e.Cost > MinCost) {
		e.Cost = MinCost
	}
	if i, ok := g.ids[e.ID]; ok {
		old := &g.edges[i]
		if g.nodes[old.a].pk == e.A && g.nodes[old.b].pk == e.B && g.types[old.typ].name == e.Type {
			old.cost = e.Cost
			return
		}
		g.remove(i)
	}
	if e.A == e.B {
		return
	}
	ne := edge{id: e.ID, a: g.node(e.A), b: g.node(e.B), typ: g.typ(e.Type), cost: e.Cost}
	var i int32
	if n := len(g.gone); n > 0 {
		i, g.gone = g.gone[n-1], g.gone[:n-1]
		g.edges[i] = ne
	} else {
		i = int32(len(g.edges))
		g.edges = append(g.edges, ne)
	}
	g.ids[e.ID] = i
	g.nodes[ne.a].arcs = append(g.nodes[ne.a].arcs, arc{ne.b, i})
	g.nodes[ne.b].arcs = append(g.nodes[ne.b].arcs, arc{ne.a, i})
}

// Remove removes an edge, where it is there.
func (g *Graph) Remove(id TransportID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i, ok := g.ids[id]; ok {
		g.remove(i)
	}
}

// Size returns the number of keys that have an edge, and of edges.
func (g *Graph) Size() (keys, edges int) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.index), len(g.ids)
}

// node returns the index of pk, new or old. mu is held.
func (g *Graph) node(pk cipher.PubKey) int32 {
	if i, ok := g.index[pk]; ok {
		return i
	}
	var i int32
	if n := len(g.free); n > 0 {
		i, g.free = g.free[n-1], g.free[:n-1]
		g.nodes[i].pk = pk
	} else {
		i = int32(len(g.nodes))
		g.nodes = append(g.nodes, node{pk: pk})
	}
	g.index[pk] = i
	return i
}

// typ returns the index of a type, new or old, which one more edge has from now on.
// mu is held.
func (g *Graph) typ(name string) int32 {
	i, ok := g.named[name]
	if !ok {
		if n := len(g.spare); n > 0 {
			i, g.spare = g.spare[n-1], g.spare[:n-1]
			g.types[i].name = name
		} else {
			i = int32(len(g.types))
			g.types = append(g.types, use{name: name})
		}
		g.named[name] = i
	}
	g.types[i].edges++
	return i
}

// leave forgets a type with its last edge. mu is held.
func (g *Graph) leave(typ int32) {
	u := &g.types[typ]
	if u.edges--; u.edges == 0 {
		delete(g.named, u.name)
		u.name = ""
		g.spare = append(g.spare, typ)
	}
}

// remove removes edge i. mu is held.
func (g *Graph) remove(i int32) {
	e := g.edges[i]
	delete(g.ids, e.id)
	g.edges[i] = edge{}
	g.gone = append(g.gone, i)
	g.leave(e.typ)
	for _, end := range [2]int32{e.a, e.b} {
		n := &g.nodes[end]
		at := slices.IndexFunc(n.arcs, func(a arc) bool { return a.edge == i })
		last := len(n.arcs) - 1
		n.arcs[at] = n.arcs[last]
		n.arcs = n.arcs[:last]
		if last == 0 {
			delete(g.index, n.pk)
			n.arcs = nil
			g.free = append(g.free, end)
		}
	}
}
