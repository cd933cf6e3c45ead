package graph

import "slices"

// A search answers one query. The graph's lock is held for reading all the while.
type search struct {
	*scratch
	g        *Graph
	from, to int32
	min, max int // hops
	k        int
	types    []bool // allowed, by type; nil: all
	biased   bool   // some keys are preferred or penalised
}

// What scratch.mark says of a node.
const (
	markAvoid  = 1 << iota // no path goes through
	markPrefer             // paths should
)

// preferFactor is what a preferred key makes of the cost of the edges there.
const preferFactor = 0.5

// A scratch is the memory of a search, some 150 bytes for each node of the graph.
type scratch struct {
	mark    []uint8   // by node; zero but for touched
	penalty []float64 // by node: what is added to the factor of its edges
	touched []int32
	flow    flowScratch
	labels  labelScratch
	queue   queue
}

// newSearch prepares a search; release it.
func (g *Graph) newSearch(q Query, from, to int32) *search {
	sc, _ := g.scratch.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	if n := len(g.nodes); len(sc.mark) < n {
		sc.mark, sc.penalty = make([]uint8, n+n/8), make([]float64, n+n/8)
	}
	s := &search{scratch: sc, g: g, from: from, to: to, min: q.MinHops, max: q.MaxHops, k: q.K}
	for _, pk := range q.Avoid {
		if i, ok := g.index[pk]; ok && i != from && i != to {
			s.set(i, markAvoid)
		}
	}
	for _, pk := range q.Prefer {
		if i, ok := g.index[pk]; ok && i != from && i != to {
			s.set(i, markPrefer)
			s.biased = true
		}
	}
	if len(q.Types) > 0 {
		s.types = make([]bool, len(g.types))
		for i, u := range g.types {
			s.types[i] = u.edges > 0 && slices.Contains(q.Types, u.name)
		}
	}
	return s
}

func (s *search) set(i int32, mark uint8) {
	s.mark[i] |= mark
	s.touched = append(s.touched, i)
}

// release gives the memory back for the next search.
func (s *search) release() {
	for _, i := range s.touched {
		s.mark[i], s.penalty[i] = 0, 0
	}
	s.touched = s.touched[:0]
	s.g.scratch.Put(s.scratch)
}

// usable says whether a path may take arc a.
func (s *search) usable(a arc) bool {
	return s.mark[a.to]&markAvoid == 0 && (s.types == nil || s.types[s.g.edges[a.edge].typ])
}

// weight returns what it costs the query to go from one node to another; the same
// in both directions.
func (s *search) weight(from int32, a arc) float64 {
	w := s.g.edges[a.edge].cost
	if !s.biased {
		return w
	}
	if (s.mark[from]|s.mark[a.to])&markPrefer != 0 {
		w *= preferFactor
	}
	return w * (1 + s.penalty[from] + s.penalty[a.to])
}

// paths finds what was asked for.
func (s *search) paths() []found {
	fs, ok := s.disjoint()
	if !ok {
		fs = s.oneByOne()
	}
	if len(fs) > 0 && len(fs) < s.k {
		fs = s.fill(fs)
	}
	return fs
}

// oneByOne finds disjoint paths within the bounds on hops, each the cheapest that is
// left.
func (s *search) oneByOne() (fs []found) {
	defer s.level()
	if !s.survey() {
		return nil
	}
	direct := false
	for len(fs) < s.k {
		f, ok := s.bounded(direct)
		if !ok {
			return fs
		}
		fs = append(fs, f)
		direct = direct || len(f.steps) == 1
		for _, st := range f.steps[1:] {
			s.set(st.from, markAvoid)
		}
	}
	return fs
}

// sharing is how much dearer each path makes its keys for further ones: enough to go
// a long way round rather than through them.
const sharing = 8

// fill adds paths that share keys with those of fs, until there are k or no more.
func (s *search) fill(fs []found) []found {
	// Nothing is out of bounds now but what the query says.
	for _, f := range fs {
		for _, st := range f.steps[1:] {
			s.mark[st.from] &^= markAvoid
		}
		s.penalise(f)
	}
	s.biased = true
	k := s.k
	s.k = 1 // for disjoint
	for tries := 0; len(fs) < k && tries < 2*k; tries++ {
		var f found
		if one, ok := s.disjoint(); ok && len(one) > 0 {
			f = one[0]
		} else {
			ok = s.survey()
			if ok {
				f, ok = s.bounded(false)
			}
			s.level()
			if !ok {
				break
			}
		}
		if !slices.ContainsFunc(fs, func(o found) bool { return sameNodes(o, f) }) {
			fs = append(fs, f)
		}
		s.penalise(f)
	}
	// What was penalised must be compared with the rest by what it really costs.
	for i := range fs {
		fs[i].weight = s.plain(fs[i])
	}
	return fs
}

func (s *search) penalise(f found) {
	for _, st := range f.steps[1:] {
		s.penalty[st.from] += sharing
		s.touched = append(s.touched, st.from)
	}
}

// plain returns the weight of f without penalties.
func (s *search) plain(f found) (w float64) {
	for _, st := range f.steps {
		c := s.g.edges[st.edge].cost
		if (s.mark[st.from]|s.mark[st.to])&markPrefer != 0 {
			c *= preferFactor
		}
		w += c
	}
	return w
}

// sameNodes says whether two paths go through the same nodes in the same order.
func sameNodes(a, b found) bool {
	return slices.EqualFunc(a.steps, b.steps, func(x, y step) bool { return x.to == y.to })
}
