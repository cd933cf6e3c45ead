package graph

import (
	"math"
	"slices"
)

// Disjoint paths are a flow in which each node between the ends carries at most one
// path, and the cheapest set of them is a flow of the least cost: it grows by one
// path at a time, each the shortest in what the flow so far leaves (the residual
// graph). For that every node has two sides; a path comes in at one and leaves by
// the other. Where a path goes through a node already, another one can only come in
// to take that path's place: backwards along it, which pays its cost back.
//
// Costs that are paid back are negative, so each side has a potential by which no
// reduced cost is (Johnson, JACM 24:1, 1977). The first ones are the distances to the
// destination, from one search that starts there: with them all further searches
// look at little besides the paths that they find. A search ends where it has found
// its end; what it has not reached gets that end's distance, which keeps reduced
// costs from being negative too.

// A state is a side of a node: 2·node, the side in, or 2·node+1, the side out.
type state = int32

func in(n int32) state  { return 2 * n }
func out(n int32) state { return 2*n + 1 }

// A flowScratch is the memory of flow searches.
type flowScratch struct {
	sides []side
	epoch uint32 // of the present search
	moved []state
	next  map[int32]step // of nodes on a path, ends aside: where the path goes
	prev  map[int32]step // and where it comes from
	first []step         // from the source
	ways  []step         // of a path that is traced back
	near  []int32        // for degree
}

// A side is what is known of a state.
type side struct {
	dist      float64 // reduced, from the source
	potential float64
	parent    state
	edge      int32 // by which it was reached; -1: inside of a node
	epoch     uint32
	settled   bool
}

// disjoint finds up to k disjoint paths of the least total weight. ok is false where
// one is outside of the bounds on hops.
func (s *search) disjoint() (fs []found, ok bool) {
	f := &s.flow
	if f.next == nil {
		f.next, f.prev = make(map[int32]step), make(map[int32]step)
	}
	clear(f.next)
	clear(f.prev)
	f.first = f.first[:0]
	defer s.level()
	if !s.aim() {
		return nil, true
	}
	for k := min(s.k, s.degree(s.from), s.degree(s.to)); len(f.first) < k && s.reach(); {
		s.augment()
	}
	for _, st := range f.first {
		p := found{steps: []step{st}}
		for st.to != s.to {
			st = f.next[st.to]
			p.steps = append(p.steps, st)
		}
		if len(p.steps) < s.min || len(p.steps) > s.max {
			return nil, false
		}
		p.weight = s.plain(p)
		fs = append(fs, p)
	}
	return fs, true
}

// degree returns to how many different nodes paths can go on from n, counted up to k.
func (s *search) degree(n int32) (d int) {
	s.flow.near = s.flow.near[:0]
	for _, a := range s.g.nodes[n].arcs {
		if s.usable(a) && !slices.Contains(s.flow.near, a.to) {
			if s.flow.near = append(s.flow.near, a.to); len(s.flow.near) == s.k {
				break
			}
		}
	}
	return len(s.flow.near)
}

// level makes all potentials zero.
func (s *search) level() {
	f := &s.flow
	for _, st := range f.moved {
		f.sides[st].potential = 0
	}
	f.moved = f.moved[:0]
}

// begin starts a search over the sides.
func (s *search) begin() {
	f := &s.flow
	if n := 2 * len(s.mark); len(f.sides) < n {
		f.sides, f.epoch = make([]side, n), 0
	}
	if f.epoch == math.MaxUint32 {
		clear(f.sides)
		f.epoch = 0
	}
	f.epoch++
	s.queue = s.queue[:0]
}

// aim sets the first potentials, those of a node's two sides being the same: by how
// much less than the source's is its distance to the destination. It says whether
// there is any path.
func (s *search) aim() bool {
	f := &s.flow
	s.begin()
	settled := len(f.moved)
	s.relax(in(s.to), in(s.to), -1, 0)
	for len(s.queue) > 0 {
		e := s.queue.pop()
		at := &f.sides[e.item]
		if at.settled {
			continue
		}
		at.settled = true
		n := e.item / 2
		if n == s.from {
			for _, st := range f.moved[settled:] {
				f.sides[st].potential = at.dist - f.sides[st&^1].dist
			}
			return true
		}
		f.moved = append(f.moved, in(n), out(n))
		for _, a := range s.g.nodes[n].arcs {
			if s.usable(a) && !(n == s.to && a.to == s.from && s.min > 1) {
				s.relax(e.item, in(a.to), a.edge, s.weight(n, a))
			}
		}
	}
	f.moved = f.moved[:settled]
	return false
}

// reach searches the residual graph for the destination and sets the parents on the
// way there and the potentials.
func (s *search) reach() bool {
	f := &s.flow
	s.begin()
	settled := len(f.moved)
	src, dst := out(s.from), in(s.to)
	s.relax(src, src, -1, 0)
	for len(s.queue) > 0 {
		e := s.queue.pop()
		at := &f.sides[e.item]
		if at.settled {
			continue
		}
		at.settled = true
		if e.item == dst {
			for _, st := range f.moved[settled:] {
				f.sides[st].potential += f.sides[st].dist - at.dist
			}
			return true
		}
		f.moved = append(f.moved, e.item)
		s.expand(e.item)
	}
	return false
}

// expand looks at what can be reached from a state.
func (s *search) expand(st state) {
	f := &s.flow
	n := st / 2
	prev, used := f.prev[n]
	if st == in(n) {
		if !used {
			s.relax(st, out(n), -1, 0)
		} else if prev.from != s.from {
			s.relax(st, out(prev.from), prev.edge, -s.weight(prev.from, arc{n, prev.edge}))
		}
		return
	}
	if used {
		s.relax(st, in(n), -1, 0)
	}
	next := f.next[n]
	for _, a := range s.g.nodes[n].arcs {
		if a.to == s.from || !s.usable(a) {
			continue
		}
		if used && next.to == a.to || n == s.from && s.isFirst(a.to) {
			continue // taken, or beside one that is
		}
		if n == s.from && a.to == s.to && s.min > 1 {
			continue
		}
		s.relax(st, in(a.to), a.edge, s.weight(n, a))
	}
}

// isFirst says whether a path goes from the source to n at once.
func (s *search) isFirst(n int32) bool {
	for _, st := range s.flow.first {
		if st.to == n {
			return true
		}
	}
	return false
}

// relax notes that a state is reached from another at a cost.
func (s *search) relax(from, to state, edge int32, cost float64) {
	f := &s.flow
	a, b := &f.sides[from], &f.sides[to]
	dist := 0.0
	if from != to {
		// What rounding makes of a zero may be below it.
		dist = a.dist + max(0, cost+a.potential-b.potential)
	}
	if b.epoch == f.epoch && (b.settled || b.dist <= dist) {
		return
	}
	b.dist, b.parent, b.edge, b.epoch, b.settled = dist, from, edge, f.epoch, false
	s.queue.push(entry{dist, to})
}

// augment adds the path that reach found to the flow.
func (s *search) augment() {
	f := &s.flow
	f.ways = f.ways[:0]
	for st := in(s.to); st != out(s.from); {
		sd := &f.sides[st]
		from := sd.parent / 2
		switch {
		case sd.edge < 0: // inside of a node
		case sd.parent == in(from):
			// Backwards: the arc from st's node to this one is given up.
			delete(f.prev, from)
			delete(f.next, st/2)
		default:
			f.ways = append(f.ways, step{from, st / 2, sd.edge})
		}
		st = sd.parent
	}
	for _, w := range f.ways {
		if w.from == s.from {
			f.first = append(f.first, w)
		} else {
			f.next[w.from] = w
		}
		if w.to != s.to {
			f.prev[w.to] = w
		}
	}
}
