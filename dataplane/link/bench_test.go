package link

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// counting is a Handler that only counts.
type counting struct {
	*sink
	n atomic.Int64
}

func (c *counting) HandleBurst(b *Burst) { c.n.Add(int64(b.N)) }

// BenchmarkLink is one goroutine sending route packets of 1440 bytes over loopback,
// in superpackets, to an engine that opens and counts them: MB/s of route packets
// that arrived, and what was lost on the way.
func BenchmarkLink(b *testing.B) {
	x := newNode(b, nil)
	s := newSink()
	count := &counting{sink: s}
	y := startNode(b, count, s, nil)
	l, err := x.AddLink(y.pk, SUDPH, y.UDPAddr())
	if err != nil {
		b.Fatal(err)
	}
	if err := l.WaitUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	const size, batch = 1440, 44
	tx := x.GetTx()
	defer x.PutTx(tx)
	b.SetBytes(size * batch)
	b.ReportAllocs()
	start, sent := count.n.Load(), 0
	for b.Loop() {
		tx.Start(l)
		for range batch {
			p := tx.Packet(size)
			packet.RouteHeader{Label: 9, Kind: packet.KindData, Length: size - 8}.Put(p)
		}
		if err := tx.Flush(); err != nil {
			b.Fatal(err)
		}
		sent += batch
	}
	for last := int64(-1); last != count.n.Load(); time.Sleep(20 * time.Millisecond) {
		last = count.n.Load()
	}
	b.ReportMetric(float64(sent-int(count.n.Load()-start))/float64(sent)*100, "%lost")
}
