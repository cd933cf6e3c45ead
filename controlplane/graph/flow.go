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
// reduced cost is (Johnson, JACM 24:1, 1977).
//
// A search goes from both ends at once, each time from the one that has less to look
// at, until no path can be shorter than the best one seen (Pohl, Machine Intelligence
// 6, 1971): in a network like ours it looks at some times the square root of all keys.
// With D the length of that path, r ≤ D how far the search from the source has come,
// and q = D − r ≤ how far that from the destination has, potentials rise by
//
//	min(from source, r) − min(to destination, q)
//
// which keeps reduced costs from being negative: that rises along an arc from u to v
// by at most r − (source to u) + q − (v to destination), and D is no more than
// (source to u) + arc + (v to destination). On the path itself they become zero. What
// neither search has reached rises by r − q; all rises are told relative to that.

// A state is a side of a node: 2·node, the side in, or 2·node+1, the side out.
type state = int32

func in(n int32) state  { return 2 * n }
func out(n int32) state { return 2*n + 1 }

// A flowScratch is the memory of flow searches.
type flowScratch struct {
	sides  []side
	epoch  uint32 // of the present search
	queues [2]queue
	best   float64 // length of the shortest path that was seen; +Inf: none
	meet   state   // on it
	moved  []state
	next   map[int32]step // of nodes on a path, ends aside: where the path goes
	prev   map[int32]step // and where it comes from
	first  []step         // from the source
	walk   []move         // that was found
	tail   []move
	ways   []step  // that it adds
	near   []int32 // for degree
}

// A direction is that of a search: from the source onwards, or from the destination
// back.
type direction int

const (
	onward direction = iota
	back
)

// A side is what is known of a state.
type side struct {
	potential float64
	visits    [2]visit // by direction
}

// A visit is what a search knows of a state, if it is of the present epoch.
type visit struct {
	dist    float64 // reduced, from where the search began
	parent  state   // one nearer to there
	edge    int32   // between them; -1: inside of a node
	epoch   uint32
	settled bool
}

// A move is an arc of the residual graph.
type move struct {
	from, to state
	edge     int32
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
	f.queues[onward], f.queues[back] = f.queues[onward][:0], f.queues[back][:0]
	f.best = math.Inf(1)
}

// reach searches the residual graph for the shortest path, leaves it in walk and sets
// the potentials.
func (s *search) reach() bool {
	f := &s.flow
	s.begin()
	settled := len(f.moved)
	s.relax(onward, out(s.from), out(s.from), -1, 0)
	s.relax(back, in(s.to), in(s.to), -1, 0)
	for {
		a, b := s.top(onward), s.top(back)
		if a+b >= f.best {
			break
		}
		d := onward
		if len(f.queues[back]) < len(f.queues[onward]) {
			d = back
		}
		st := f.queues[d].pop().item
		f.sides[st].visits[d].settled = true
		f.moved = append(f.moved, st)
		if d == onward {
			s.expand(st)
		} else {
			s.expandBack(st)
		}
	}
	if math.IsInf(f.best, 1) {
		f.moved = f.moved[:settled]
		return false
	}
	r := min(s.top(onward), f.best)
	q := f.best - r
	for _, st := range f.moved[settled:] {
		sd := &f.sides[st]
		if v := &sd.visits[onward]; v.epoch == f.epoch && v.dist < r {
			sd.potential += v.dist - r
			v.dist = r // a state that both have settled comes twice
		}
		if v := &sd.visits[back]; v.epoch == f.epoch && v.dist < q {
			sd.potential += q - v.dist
			v.dist = q
		}
	}
	s.retrace()
	return true
}

// top returns how far a search has come: no state that is not settled is nearer.
func (s *search) top(d direction) float64 {
	q := &s.flow.queues[d]
	for len(*q) > 0 {
		if e := (*q)[0]; !s.flow.sides[e.item].visits[d].settled {
			return e.cost
		}
		q.pop()
	}
	return math.Inf(1)
}

// retrace sets walk to the path through meet. Where arcs cost nothing the two halves
// can have a state in common; between its two visits the path may be left out.
func (s *search) retrace() {
	f := &s.flow
	f.walk, f.tail = f.walk[:0], f.tail[:0]
	for st := f.meet; st != out(s.from); {
		v := &f.sides[st].visits[onward]
		f.walk = append(f.walk, move{v.parent, st, v.edge})
		st = v.parent
	}
	slices.Reverse(f.walk)
	for st := f.meet; st != in(s.to); {
		v := &f.sides[st].visits[back]
		f.tail = append(f.tail, move{st, v.parent, v.edge})
		st = v.parent
	}
	for i := len(f.tail) - 1; i >= 0; i-- {
		if at := slices.IndexFunc(f.walk, func(m move) bool { return m.from == f.tail[i].to }); at >= 0 {
			f.walk, f.tail = f.walk[:at], f.tail[i+1:]
			break
		}
	}
	f.walk = append(f.walk, f.tail...)
}

// expand looks at what can be reached from a state.
func (s *search) expand(st state) {
	f := &s.flow
	n := st / 2
	prev, used := f.prev[n]
	if st == in(n) {
		switch {
		case n == s.to:
		case !used:
			s.relax(onward, st, out(n), -1, 0)
		case prev.from != s.from:
			s.relax(onward, st, out(prev.from), prev.edge, -s.weight(prev.from, arc{n, prev.edge}))
		}
		return
	}
	if used {
		s.relax(onward, st, in(n), -1, 0)
	}
	for _, a := range s.g.nodes[n].arcs {
		if a.to != s.from && s.usable(a) && !s.taken(n, a.to, used) {
			s.relax(onward, st, in(a.to), a.edge, s.weight(n, a))
		}
	}
}

// expandBack looks at where a state can be reached from.
func (s *search) expandBack(st state) {
	f := &s.flow
	n := st / 2
	_, used := f.prev[n]
	if st == out(n) {
		switch {
		case n == s.from:
		case !used:
			s.relax(back, st, in(n), -1, 0)
		default:
			if next := f.next[n]; next.to != s.to {
				s.relax(back, st, in(next.to), next.edge, -s.weight(n, arc{next.to, next.edge}))
			}
		}
		return
	}
	if used {
		s.relax(back, st, out(n), -1, 0)
	}
	for _, a := range s.g.nodes[n].arcs {
		if a.to == s.to || !s.usable(a) {
			continue
		}
		if _, u := f.prev[a.to]; !s.taken(a.to, n, u) {
			s.relax(back, st, out(a.to), a.edge, s.weight(n, a))
		}
	}
}

// taken says whether no path can go from n on to the node next to it: one does already,
// or does beside it, or the query wants more hops. used is whether n is on a path.
func (s *search) taken(n, to int32, used bool) bool {
	return used && s.flow.next[n].to == to || n == s.from && (s.isFirst(to) || to == s.to && s.min > 1)
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

// relax notes that a search in direction d comes from one state to another at a cost.
func (s *search) relax(d direction, from, to state, edge int32, cost float64) {
	f := &s.flow
	v := &f.sides[to].visits[d]
	dist := 0.0
	if from != to {
		rise := f.sides[to].potential - f.sides[from].potential
		if d == back {
			rise = -rise
		}
		// What rounding makes of a zero may be below it.
		dist = f.sides[from].visits[d].dist + max(0, cost-rise)
	}
	if v.epoch == f.epoch && (v.settled || v.dist <= dist) {
		return
	}
	*v = visit{dist: dist, parent: from, edge: edge, epoch: f.epoch}
	f.queues[d].push(entry{dist, to})
	if o := &f.sides[to].visits[1-d]; o.epoch == f.epoch && dist+o.dist < f.best {
		f.best, f.meet = dist+o.dist, to
	}
}

// augment adds the path that reach found to the flow.
func (s *search) augment() {
	f := &s.flow
	f.ways = f.ways[:0]
	for _, m := range f.walk {
		from, to := m.from/2, m.to/2
		switch {
		case m.edge < 0: // inside of a node
		case m.from == in(from):
			// Backwards: the arc from one to the other is given up.
			delete(f.prev, from)
			delete(f.next, to)
		default:
			f.ways = append(f.ways, step{from, to, m.edge})
		}
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
