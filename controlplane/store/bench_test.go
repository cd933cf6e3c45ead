package store_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
)

// entry is about as long as a client's entry in a discovery.
func entry() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 40) }

// benchKeys is how many keys the benchmarks go round.
const benchKeys = 10000

// benchKey is the key of number i: as long as that of a discovery's entry.
func benchKey(i int64) string { return fmt.Sprintf("dmsg/entry/%066x", i%benchKeys) }

func BenchmarkBolt(b *testing.B) {
	run(b, openBolt(b, filepath.Join(b.TempDir(), "x.db"), patient()))
}

func BenchmarkRedis(b *testing.B) { run(b, open(b, redistest.Start(b).URL(), patient())) }

// run measures s with one caller and with 64.
func run(b *testing.B, s store.Store) {
	var n atomic.Int64
	put := func(b *testing.B) {
		if _, err := s.Put(b.Context(), benchKey(n.Add(1)), entry(), time.Hour, store.Always()); err != nil {
			b.Error(err)
		}
	}
	get := func(b *testing.B) {
		if _, err := s.Get(b.Context(), benchKey(n.Add(1))); err != nil {
			b.Error(err)
		}
	}
	parallel := func(b *testing.B, f func(*testing.B)) {
		b.ReportAllocs()
		b.SetParallelism(32) // times two processors
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f(b)
			}
		})
	}
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			put(b)
		}
	})
	b.Run("put64", func(b *testing.B) { parallel(b, put) })
	for range benchKeys { // all are there, whatever ran before
		put(b)
	}
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			get(b)
		}
	})
	b.Run("get64", func(b *testing.B) { parallel(b, get) })
	b.Run("list100", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			items, _, err := s.List(b.Context(), "dmsg/entry/", benchKey(n.Add(1)), 100)
			if err != nil || len(items) == 0 && n.Load()%benchKeys < benchKeys-1 {
				b.Fatal(len(items), err)
			}
		}
	})
}
