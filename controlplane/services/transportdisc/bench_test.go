package transportdisc

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// fill puts a network of n visors with 5 transports each into s, past the checks of
// signatures, and returns the visors and their stats.
func fill(b *testing.B, s *Service, n int) (pks []cipher.PubKey, stats [][]deployment.TransportStats) {
	b.Helper()
	for i := range n {
		pk, err := cipher.SecKey{29: byte(i>>8) + 1, 30: byte(i), 31: 1}.PubKey()
		if err != nil {
			b.Fatal(err)
		}
		pks = append(pks, pk)
	}
	entries := make([][]deployment.SignedTransport, n)
	stats = make([][]deployment.TransportStats, n)
	for i := range n {
		for d := 1; d <= 5; d++ {
			j := (i + d*d*17) % n
			e := deployment.SignedTransport{Transport: deployment.NewTransport(pks[i], pks[j], "stcpr", "automatic"), Signatures: [2]cipher.Sig{{1}, {2}}}
			for _, end := range []int{i, j} {
				entries[end] = append(entries[end], e)
				stats[end] = append(stats[end], deployment.TransportStats{ID: e.ID, RTTMicros: int64(1000 * d)})
			}
		}
	}
	var next atomic.Int64
	done := make(chan error, 64)
	for range cap(done) {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					done <- nil
					return
				}
				err := store.ErrUnavailable // a disk that others keep busy takes its time
				for errors.Is(err, store.ErrUnavailable) {
					err = s.again(context.Background(), pks[i], deployment.Instance{ID: "x"}, "", func(a *account) error {
						_, err := a.add(context.Background(), entries[i], time.Now())
						return err
					})
				}
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return pks, stats
}

// BenchmarkHeartbeat is a heartbeat of one of 1,000 visors with 5,000 transports, its
// signature and HTTP aside: 17 of them come in a second, and many at once share a
// commit.
func BenchmarkHeartbeat(b *testing.B) {
	r := start(b, openStore(b, ""), nil)
	pks, stats := fill(b, r.s, 1000)
	var next atomic.Int64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1)) % len(pks)
			reply, err := r.s.heartbeat(context.Background(), pks[i], place{}, deployment.HeartbeatRequest{Instance: deployment.Instance{ID: "x"}, Stats: stats[i]})
			if err != nil || len(reply.Unknown) > 0 {
				b.Error(reply, err)
			}
		}
	})
}

// BenchmarkList is the making of /all-transports.
func BenchmarkList(b *testing.B) {
	r := start(b, openStore(b, ""), nil)
	fill(b, r.s, 1000)
	if n := r.s.index.Totals().Transports; n != 5000 {
		b.Fatalf("%d transports", n)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.s.all = list{}
		b.SetBytes(int64(r.s.all.get(r.s.index, time.Now).Size()))
	}
}

// BenchmarkMemory reports what a network of 10,000 visors holds.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := start(b, openStore(b, ""), nil)
		fill(b, r.s, 10_000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(r.s.index.Totals().Transports), "heap-B/transport")
	}
}
