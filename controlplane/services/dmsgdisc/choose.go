package dmsgdisc

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// maxAvailable is the most servers of one answer.
	maxAvailable = 512
	// maxWeight bounds what a server gains by saying how much room it has.
	maxWeight = 4096
)

// writeAvailable writes servers with room, those with the most of it first. Of too
// many it takes some at random, each as likely as it has room.
func writeAvailable(items []*item) []byte {
	if len(items) > maxAvailable {
		items = sample(items, maxAvailable)
	}
	slices.SortFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(b.available, a.available), byKey(a, b))
	})
	return joinEntries(items)
}

// sample returns n of items at random, weighted by their room (A-ES of Efraimidis
// and Spirakis, 2006: those with the largest u^(1/weight)). It shuffles items.
func sample(items []*item, n int) []*item {
	rank := make(map[*item]float64, len(items))
	for _, it := range items {
		rank[it] = math.Log(1-rand.Float64()) / float64(min(it.available, maxWeight))
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(rank[b], rank[a]) })
	return items[:n]
}
