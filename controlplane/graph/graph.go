// Package graph holds the network as a graph, visors joined by transports, and
// finds paths through it.
package graph

import (
	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Edge is a transport between two visors. It can be used either way, at the same
// cost.
type Edge struct {
	ID   TransportID
	A, B cipher.PubKey
	Type string // "stcpr", "sudph", "stcp", "dmsg"
	// Cost is what it costs to cross, above 0; milliseconds by custom.
	Cost float64
}

// A Query asks for paths.
type Query struct {
	From, To cipher.PubKey
	// MinHops and MaxHops bound the length of each path; 0: 1 and MaxHops.
	MinHops, MaxHops int
	// K is how many paths are wanted at most; 0: one.
	K int
	// Avoid are keys that no path goes through. Prefer are keys through which paths
	// go where they can at a bearable cost.
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

// A Graph is a set of edges. All methods may be called concurrently.
type Graph struct{}

// New returns an empty graph.
func New() *Graph { return &Graph{} }

// Set adds e, or replaces the edge of that ID.
func (g *Graph) Set(e Edge) {}

// Remove removes an edge, where it is there.
func (g *Graph) Remove(id TransportID) {}

// Paths returns up to q.K paths, the cheapest first: node-disjoint ones as far as
// there are.
func (g *Graph) Paths(q Query) []Path { return nil }
