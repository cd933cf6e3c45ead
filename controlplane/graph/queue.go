package graph

// An entry of a queue: what is to be looked at, and at which cost.
type entry struct {
	cost float64
	item int32
}

// A queue gives the cheapest entry first: a binary heap. container/heap would box
// each entry, which made a query three times as slow.
type queue []entry

func (q *queue) push(e entry) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up].cost <= e.cost {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
	*q = h
}

// pop removes and returns the cheapest entry; there must be one.
func (q *queue) pop() entry {
	h := *q
	top := h[0]
	last := h[len(h)-1]
	h = h[:len(h)-1]
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].cost < h[down].cost {
			down++
		}
		if last.cost <= h[down].cost {
			break
		}
		h[i] = h[down]
		i = down
	}
	if len(h) > 0 {
		h[i] = last
	}
	*q = h
	return top
}
