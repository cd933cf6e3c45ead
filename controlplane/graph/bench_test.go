package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gonum "gonum.org/v1/gonum/graph/path"
)

// BenchmarkPaths reports the mean and the 99th percentile of queries between random
// ends.
func BenchmarkPaths(b *testing.B) {
	for _, size := range []struct{ nodes, edges int }{{1000, 5000}, {10000, 50000}} {
		r := rand.New(rand.NewPCG(1, 1))
		n := random(r, size.nodes, size.edges)
		for _, tt := range []struct {
			name string
			q    Query
		}{
			{"one", Query{}},
			{"two", Query{K: 2}},
			{"five", Query{K: 5}},
			{"min3", Query{MinHops: 3, K: 2}},
			{"max4", Query{MaxHops: 4, K: 2}},
		} {
			b.Run(fmt.Sprintf("%d/%s", size.nodes, tt.name), func(b *testing.B) {
				b.ReportAllocs()
				var took []time.Duration
				for b.Loop() {
					q := tt.q
					q.From, q.To = key(r.IntN(size.nodes)), key(r.IntN(size.nodes))
					at := time.Now()
					n.g.Paths(q)
					took = append(took, time.Since(at))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}

// BenchmarkGonum is what gonum's Dijkstra takes for one shortest path.
func BenchmarkGonum(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	const nodes = 10000
	wg := gonumGraph(random(r, nodes, 50000), nodes)
	for b.Loop() {
		tree := gonum.DijkstraFrom(wg.Node(int64(r.IntN(nodes))), wg)
		tree.To(int64(r.IntN(nodes)))
	}
}
