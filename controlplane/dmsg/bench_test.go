package dmsg

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// benchPair makes two clients on our own relay.
func benchPair(b testing.TB) (*testClient, *Listener) {
	entry, _ := startServer(b)
	dir := disc.NewStatic(entry)
	near, far := startClient(b, dir), startClient(b, dir)
	l, err := far.Listen(80)
	if err != nil {
		b.Fatal(err)
	}
	return near, l
}

// BenchmarkDial is the time from Dial to a stream that can be written to, by way of our
// relay, all in this process.
func BenchmarkDial(b *testing.B) {
	near, l := benchPair(b)
	go func() {
		for {
			st, err := l.AcceptStream()
			if err != nil {
				return
			}
			st.Close()
		}
	}()
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		st, err := near.Dial(context.Background(), l.Addr().(proto.Addr))
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		st.Close()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkBulk is one direction of one stream by way of our relay, all in this process.
func BenchmarkBulk(b *testing.B) {
	near, l := benchPair(b)
	st, err := near.Dial(context.Background(), l.Addr().(proto.Addr))
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	far, err := l.AcceptStream()
	if err != nil {
		b.Fatal(err)
	}
	const chunk = 64 << 10
	go func() {
		p := make([]byte, chunk)
		for {
			if _, err := st.Write(p); err != nil {
				return
			}
		}
	}()
	p := make([]byte, chunk)
	b.SetBytes(chunk)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.ReadFull(far, p); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	far.Close()
}
