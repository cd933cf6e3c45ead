package link

import (
	"testing"

	"github.com/skyminer/skywire/dataplane/packet"
)

// A crediting handler lets the sender go on for every n packets that arrive.
type crediting struct {
	*sink
	credit chan struct{}
	n, got int
}

func (c *crediting) HandleBurst(b *Burst) {
	for c.got += b.N; c.got >= c.n; c.got -= c.n {
		<-c.credit
	}
}

// BenchmarkTCPLink is BenchmarkLink over STCPR. The sender waits where the receiver
// is far behind, so that nothing is lost.
func BenchmarkTCPLink(b *testing.B) {
	for _, bench := range []struct {
		name        string
		size, batch int
	}{
		{"45x1408", 1408, 45},
		{"64KiB", packet.MaxRoutePacket, 1},
	} {
		b.Run(bench.name, func(b *testing.B) {
			x := tcpNode(b, nil)
			s := newSink()
			h := &crediting{sink: s, credit: make(chan struct{}, 16), n: bench.batch}
			y := startNode(b, h, s, tcpOnly)
			l, err := x.AddLink(y.pk, STCPR, y.TCPAddr())
			if err != nil {
				b.Fatal(err)
			}
			if err := l.WaitUp(b.Context()); err != nil {
				b.Fatal(err)
			}
			tx := x.GetTx()
			defer x.PutTx(tx)
			b.SetBytes(int64(bench.size * bench.batch))
			b.ReportAllocs()
			for b.Loop() {
				h.credit <- struct{}{}
				tx.Start(l)
				for range bench.batch {
					p := tx.Packet(bench.size)
					packet.RouteHeader{Label: 9, Kind: packet.KindData, Length: uint16(bench.size - 8)}.Put(p)
				}
				if err := tx.Flush(); err != nil {
					b.Fatal(err)
				}
			}
			for range cap(h.credit) {
				h.credit <- struct{}{}
			}
		})
	}
}
