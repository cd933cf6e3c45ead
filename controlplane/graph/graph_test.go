package graph

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// key returns the n-th key of a test; no point of the curve, which nobody asks here.
func key(n int) (pk cipher.PubKey) {
	pk[0] = 2
	binary.BigEndian.PutUint32(pk[29:], uint32(n))
	return pk
}

func id(n int) (t TransportID) {
	binary.BigEndian.PutUint32(t[12:], uint32(n))
	return t
}

// A net is a graph by numbers.
type network struct {
	g     *Graph
	edges []Edge
}

func (n *network) add(a, b int, cost float64, typ string) TransportID {
	e := Edge{ID: id(len(n.edges) + 1), A: key(a), B: key(b), Type: typ, Cost: cost}
	n.edges = append(n.edges, e)
	n.g.Set(e)
	return e.ID
}

// line renders a path as the numbers of its nodes.
func line(p Path) string {
	if len(p.Hops) == 0 {
		return ""
	}
	num := func(pk cipher.PubKey) int { return int(binary.BigEndian.Uint32(pk[29:])) }
	s := fmt.Sprint(num(p.Hops[0].From))
	for _, h := range p.Hops {
		s += fmt.Sprint(" ", num(h.To))
	}
	return s
}

func lines(ps []Path) (s []string) {
	for _, p := range ps {
		s = append(s, line(p))
	}
	return s
}

func TestPaths(t *testing.T) {
	n := &network{g: New()}
	// The cheapest way, 1 2 3 6, bars both others: two paths must share it out.
	n.add(1, 2, 1, "stcpr")
	n.add(2, 3, 1, "stcpr")
	n.add(3, 6, 1, "stcpr")
	n.add(1, 4, 2, "sudph")
	n.add(4, 3, 2, "sudph")
	n.add(2, 5, 2, "sudph")
	n.add(5, 6, 1.9, "sudph")
	n.add(1, 6, 50, "dmsg")
	n.add(1, 6, 60, "stcp")
	n.add(7, 8, 1, "stcpr")
	tests := []struct {
		name string
		q    Query
		want []string
	}{
		{"cheapest", Query{}, []string{"1 2 3 6"}},
		{"two", Query{K: 2}, []string{"1 2 5 6", "1 4 3 6"}},
		{"three", Query{K: 3}, []string{"1 2 5 6", "1 4 3 6", "1 6"}},
		{"more than disjoint ones", Query{K: 4}, []string{"1 2 3 6", "1 2 5 6", "1 4 3 6", "1 6"}},
		{"avoid", Query{K: 2, Avoid: []cipher.PubKey{key(3)}}, []string{"1 2 5 6", "1 6"}},
		{"avoid an end", Query{Avoid: []cipher.PubKey{key(1), key(6), key(99)}}, []string{"1 2 3 6"}},
		{"prefer", Query{Prefer: []cipher.PubKey{key(5)}}, []string{"1 2 5 6"}},
		{"prefer what is too far", Query{Prefer: []cipher.PubKey{key(7)}}, []string{"1 2 3 6"}},
		{"types", Query{K: 3, Types: []string{"sudph", "dmsg"}}, []string{"1 6"}},
		{"unknown type", Query{Types: []string{"x"}}, nil},
		{"one hop", Query{MaxHops: 1}, []string{"1 6"}},
		{"one hop of a type", Query{MaxHops: 1, Types: []string{"stcp"}}, []string{"1 6"}},
		{"four hops", Query{MinHops: 4}, []string{"1 4 3 2 5 6"}},
		{"five hops", Query{MinHops: 5, K: 2}, []string{"1 4 3 2 5 6"}},
		{"six hops", Query{MinHops: 6}, nil},
		{"two hops at most", Query{MinHops: 2, MaxHops: 2}, nil},
		{"three", Query{MinHops: 3, MaxHops: 3, K: 2}, []string{"1 2 5 6", "1 4 3 6"}},
		{"contradiction", Query{MinHops: 3, MaxHops: 2}, nil},
		{"beyond all bounds", Query{MinHops: 1 << 30, MaxHops: -1, K: 1 << 30}, nil},
		{"to itself", Query{To: key(1)}, nil},
		{"unknown", Query{To: key(99)}, nil},
		{"apart", Query{To: key(8)}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := tt.q
			q.From = key(1)
			if q.To.IsZero() {
				q.To = key(6)
			}
			if got := lines(n.g.Paths(q)); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if p := n.g.Paths(Query{From: key(1), To: key(6)})[0]; p.Cost != 3 {
		t.Errorf("cost %v, want 3", p.Cost)
	}
}

// Changes are made in their order.
func TestUpdate(t *testing.T) {
	g := New()
	one, two := Edge{ID: id(1), A: key(1), B: key(2), Type: "stcpr", Cost: 5}, Edge{ID: id(2), A: key(2), B: key(3), Type: "stcpr", Cost: 5}
	cheaper := two
	cheaper.Cost = 1
	g.Update([]Change{{Edge: one}, {Edge: two}, {Edge: Edge{ID: id(1)}, Gone: true}, {Edge: cheaper}, {Edge: Edge{ID: id(9)}, Gone: true}})
	got := g.Paths(Query{From: key(2), To: key(3)})
	if len(got) != 1 || got[0].Cost != 1 {
		t.Errorf("got %v", got)
	}
	if keys, edges := g.Size(); keys != 2 || edges != 1 {
		t.Errorf("%d keys and %d edges, want 2 and 1", keys, edges)
	}
}

// Edges that come, change and go leave nothing behind.
func TestChange(t *testing.T) {
	n := &network{g: New()}
	first := n.add(1, 2, 5, "stcpr")
	n.add(1, 3, 1, "stcpr")
	n.add(3, 2, 1, "stcpr")
	q := Query{From: key(1), To: key(2)}
	if got := line(n.g.Paths(q)[0]); got != "1 3 2" {
		t.Errorf("got %s", got)
	}
	n.g.Set(Edge{ID: first, A: key(1), B: key(2), Type: "stcpr", Cost: 1})
	if got := line(n.g.Paths(q)[0]); got != "1 2" {
		t.Errorf("cheaper: got %s", got)
	}
	n.g.Set(Edge{ID: first, A: key(1), B: key(4), Type: "stcpr", Cost: 1})
	if got := line(n.g.Paths(q)[0]); got != "1 3 2" {
		t.Errorf("elsewhere: got %s", got)
	}
	n.g.Set(Edge{ID: first, A: key(1), B: key(1), Type: "stcpr"})
	if keys, edges := n.g.Size(); keys != 3 || edges != 2 {
		t.Errorf("%d keys and %d edges, want 3 and 2", keys, edges)
	}
	for _, e := range n.edges {
		n.g.Remove(e.ID)
	}
	n.g.Remove(id(99))
	if keys, edges := n.g.Size(); keys != 0 || edges != 0 {
		t.Errorf("%d keys and %d edges are left", keys, edges)
	}
	// What was freed is used again.
	n.add(5, 6, 1, "stcpr")
	n.add(6, 7, 1, "stcpr")
	if len(n.g.nodes) > 4 || len(n.g.edges) > 3 {
		t.Errorf("%d nodes and %d edges in memory", len(n.g.nodes), len(n.g.edges))
	}
	if got := line(n.g.Paths(Query{From: key(7), To: key(5)})[0]); got != "7 6 5" {
		t.Errorf("got %s", got)
	}
}

func TestID(t *testing.T) {
	const text = "30461d17-c78a-0dc8-9f55-c4f06d82c1d6"
	got, err := ParseID("30461D17-c78a-0dc8-9f55-c4f06d82c1d6")
	if err != nil || got.String() != text {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", text[1:], text + "0", "30461d17c78a-0dc8-9f55-c4f06d82c1d6-", "3046-d17-c78a-0dc8-9f55-c4f06d82c1d6", "g0461d17-c78a-0dc8-9f55-c4f06d82c1d6"} {
		if got, err := ParseID(bad); err != ErrID {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

// random returns a network of n nodes and about m edges, each node on a ring.
func random(r *rand.Rand, n, m int) *network {
	types := []string{"stcpr", "sudph", "stcp", "dmsg"}
	net := &network{g: New()}
	for i := range n {
		net.add(i, (i+1)%n, 1+100*r.Float64(), "stcpr")
	}
	for range m - n {
		if a, b := r.IntN(n), r.IntN(n); a != b {
			net.add(a, b, 1+100*r.Float64(), types[r.IntN(len(types))])
		}
	}
	return net
}

// Types are strangers' words: those of edges that are gone take no memory.
func TestTypesAreForgotten(t *testing.T) {
	n := &network{g: New()}
	n.add(1, 2, 5, "stcpr")
	for i := range 1000 {
		n.g.Set(Edge{ID: id(7), A: key(1), B: key(2), Type: fmt.Sprint("type", i), Cost: 1})
	}
	if len(n.g.types) > 3 || len(n.g.named) != 2 {
		t.Errorf("%d types in memory, %d named, for 2 edges", len(n.g.types), len(n.g.named))
	}
	q := Query{From: key(1), To: key(2), Types: []string{"type998"}}
	if got := n.g.Paths(q); len(got) > 0 {
		t.Errorf("a path of a type that is gone: %v", got)
	}
	n.g.Remove(id(7))
	if q.Types = []string{"", "type999"}; len(n.g.Paths(q)) > 0 {
		t.Error("a path of a type that is gone")
	}
	if q.Types = []string{"stcpr"}; len(n.g.Paths(q)) != 1 {
		t.Error("no path of a type that is there")
	}
}
