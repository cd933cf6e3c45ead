package graph

import "math"

// Paths of at least or at most so many hops are found in layers: a label is a way to
// a node in some number of hops, and for each node and number the cheapest few are
// looked at further. One would be enough if a way might go through a node twice; as
// it may not, the cheapest can be a dead end. Two are enough for all ways of up to
// four hops; where a search with few fails, one with many follows.
//
// What is looked at first is what may make the cheapest path, by the distances to the
// destination (A*), and nothing is that is too many hops away from it. Both are known
// near the destination only; everything else is at least as far as what is known.
const (
	fewLabels  = 3
	manyLabels = 64
	// maxLabels bounds one search: at 40 bytes each 10 MB, and some 50 ms.
	maxLabels = 1 << 18
	// surveyed is about how many nodes a survey looks at.
	surveyed = 1024
)

// A label is a way to a node.
type label struct {
	cost   float64
	parent int32 // label; -1: none
	node   int32
	edge   int32
	hops   int32
}

// A labelScratch is the memory of such searches.
type labelScratch struct {
	labels []label
	seen   []seen // by layer and node
	epoch  uint32
	left   []uint8 // by node: the destination is at least so many hops away
	row    []int32 // for survey
}

// seen counts the labels of a node and number of hops in the search of that epoch.
type seen struct {
	epoch uint32
	count uint32
}

// survey finds out how far it is to the destination from what is near it, in hops and
// in cost, and says whether there may be a path short enough. It needs a level before
// and after.
func (s *search) survey() bool {
	if !s.count(surveyed) {
		return false
	}
	s.aim()
	return true
}

// count counts the hops to the destination, from whole rings of nodes around it until
// those are limit nodes, and says whether the source may be near enough.
func (s *search) count(limit int) bool {
	l := &s.labels
	if len(l.left) < len(s.mark) {
		l.left = make([]uint8, len(s.mark))
	}
	const none = 255
	for i := range l.left {
		l.left[i] = none
	}
	l.left[s.to] = 0
	l.row = append(l.row[:0], s.to)
	beyond := uint8(none) // of what is not counted
	for i, ring := 0, 0; i < len(l.row); i++ {
		hops := l.left[l.row[i]] + 1
		if int(hops) > s.max {
			break
		}
		if int(hops) > ring {
			if ring = int(hops); i >= limit {
				beyond = hops
				break
			}
		}
		for _, a := range s.g.nodes[l.row[i]].arcs {
			if l.left[a.to] == none && s.usable(a) {
				l.left[a.to] = hops
				l.row = append(l.row, a.to)
			}
		}
	}
	if beyond != none {
		for i, hops := range l.left {
			l.left[i] = min(hops, beyond)
		}
	}
	return int(l.left[s.from]) <= s.max
}

// aim sets potentials: by how much less than that of the farthest node looked at is a
// node's distance to the destination. Nodes too many hops away are left out.
func (s *search) aim() {
	f := &s.flow
	s.begin()
	settled := len(f.moved)
	s.relax(back, in(s.to), in(s.to), -1, 0)
	far := 0.0
	for q := &f.queues[back]; len(*q) > 0; {
		e := q.pop()
		at := &f.sides[e.item].visits[back]
		if at.settled {
			continue
		}
		at.settled = true
		n := e.item / 2
		if far = at.dist; n == s.from || len(f.moved)-settled >= 2*surveyed {
			break
		}
		f.moved = append(f.moved, in(n), out(n))
		for _, a := range s.g.nodes[n].arcs {
			if int(s.labels.left[a.to]) <= s.max && s.usable(a) && !(n == s.to && a.to == s.from && s.min > 1) {
				s.relax(back, e.item, in(a.to), a.edge, s.weight(n, a))
			}
		}
	}
	for _, st := range f.moved[settled:] {
		f.sides[st].potential = far - f.sides[in(st/2)].visits[back].dist
	}
}

// bounded finds the cheapest path within the bounds on hops, noDirect: of two or
// more. It follows a survey, since which keys may have become out of bounds.
func (s *search) bounded(noDirect bool) (found, bool) {
	least := s.min
	if noDirect {
		least = max(least, 2)
	}
	// All layers from least on are one, until that turns out to hide the short ways.
	for i, try := range []struct {
		layers int
		labels uint32
	}{{least, fewLabels}, {s.max, fewLabels}, {s.max, manyLabels}} {
		if i == 1 && !s.count(math.MaxInt) {
			break // the paths found before stand in the way
		}
		if f, ok := s.layered(least, try.layers, try.labels); ok {
			return f, true
		}
	}
	return found{}, false
}

// layered finds the cheapest path of least to s.max hops, telling numbers of hops
// apart up to layers and taking each node up to limit times in each layer.
func (s *search) layered(least, layers int, limit uint32) (found, bool) {
	l := &s.labels
	width := len(s.mark)
	if n := width * (layers + 1); len(l.seen) < n {
		l.seen, l.epoch = make([]seen, n), 0
	}
	if l.epoch++; l.epoch == 0 {
		clear(l.seen)
		l.epoch = 1
	}
	l.labels = append(l.labels[:0], label{parent: -1, node: s.from, edge: -1})
	s.queue = append(s.queue[:0], entry{0, 0})
	for len(s.queue) > 0 && len(l.labels) < maxLabels {
		i := s.queue.pop().item
		at := l.labels[i]
		if at.node == s.to {
			return s.trace(i), true
		}
		n := &l.seen[min(int(at.hops), layers)*width+int(at.node)]
		if n.epoch != l.epoch {
			*n = seen{epoch: l.epoch}
		}
		if n.count++; n.count > limit || int(at.hops) == s.max {
			continue
		}
		for _, a := range s.g.nodes[at.node].arcs {
			if !s.usable(a) || int(at.hops)+1+int(l.left[a.to]) > s.max || a.to == s.to && int(at.hops)+1 < least {
				continue
			}
			if to := &l.seen[min(int(at.hops)+1, layers)*width+int(a.to)]; to.epoch == l.epoch && to.count >= limit {
				continue
			}
			if s.visited(i, a.to) {
				continue
			}
			cost := at.cost + s.weight(at.node, a)
			l.labels = append(l.labels, label{cost: cost, parent: i, node: a.to, edge: a.edge, hops: at.hops + 1})
			s.queue.push(entry{cost - s.flow.sides[in(a.to)].potential, int32(len(l.labels) - 1)})
		}
	}
	return found{}, false
}

// visited says whether the way of label i goes through a node.
func (s *search) visited(i, node int32) bool {
	for ; i >= 0; i = s.labels.labels[i].parent {
		if s.labels.labels[i].node == node {
			return true
		}
	}
	return false
}

// trace returns the path of label i.
func (s *search) trace(i int32) found {
	at := s.labels.labels[i]
	f := found{steps: make([]step, at.hops), weight: at.cost}
	for ; at.parent >= 0; at = s.labels.labels[at.parent] {
		f.steps[at.hops-1] = step{s.labels.labels[at.parent].node, at.node, at.edge}
	}
	return f
}
