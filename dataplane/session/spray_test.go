package session

import (
	"encoding/binary"
	"math"
	"runtime/debug"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// muxPair returns the session from a to d over two routes that packets are spread over.
func muxPair(t *testing.T, o nodeOptions) (s *Session, a, b, c, d *node) {
	o.mux = true
	a, b, c, d = diamond(t, o)
	s = a.dial(d)
	eventually(t, "both routes to come up", func() bool { return a.routesUp(d) == 2 && d.routesUp(a) == 2 })
	eventually(t, "packets to be spread", func() bool { rtt, rate := s.Spread(); return rtt > 0 && rate > 0 })
	return s, a, b, c, d
}

// waiting returns the bytes that wait before the pacers.
func (s *Session) waiting() int {
	y := s.spray.Load()
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.queue.bytes
}

// awaitRoom waits until no more than most bytes wait before the pacers.
func (s *Session) awaitRoom(t testing.TB, most int) {
	t.Helper()
	for give := time.Now().Add(30 * time.Second); s.waiting() > most; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(give) {
			t.Fatalf("%d bytes still wait; routes %+v", s.waiting(), s.m.Routes())
		}
	}
}

// pattern is what the test streams carry at a sequence number.
func pattern(seq int) byte { return byte(seq ^ seq>>8 ^ seq>>16) }

// streamOn sends segments from seq on until done says so, as fast as they leave, and
// returns where it ended.
func streamOn(t *testing.T, s *Session, seq int, done func() bool) int {
	t.Helper()
	data := make([]byte, 30_000)
	give := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(give) {
			t.Fatalf("timed out after %d bytes; routes %+v", seq, s.m.Routes())
		}
		if s.waiting() > 200_000 {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := range data {
			data[i] = pattern(seq + i)
		}
		if err := s.SendTCP(tcpHeader(uint32(seq), tcpPSH), [][]byte{data[:100], data[100:]}); err != nil {
			t.Fatal(err)
		}
		seq += len(data)
	}
	return seq
}

// inspect looks at the TCP packets that n got: their bytes must be those of the stream. It
// returns how many came before one with a smaller number.
func (n *node) inspect(t *testing.T) (packets, disorder int) {
	t.Helper()
	n.up.mu.Lock()
	defer n.up.mu.Unlock()
	last := -1
	for _, p := range n.up.got {
		if p[0] != packet.ProtoTCP {
			t.Fatalf("a packet of proto %d", p[0])
		}
		seq, data := int(binary.BigEndian.Uint32(p[1+tcpSeq:])), p[1+20:]
		for i, b := range data {
			if b != pattern(seq+i) {
				t.Fatalf("packet %d has other data at %d", seq, i)
			}
		}
		packets++
		if seq < last {
			disorder++
		}
		last = seq
	}
	return packets, disorder
}

// TestMuxCarriesOneFlow: the packets of one flow take both routes, and arrive as they left.
func TestMuxCarriesOneFlow(t *testing.T) {
	s, a, _, _, d := muxPair(t, nodeOptions{})
	both := func() bool {
		n := 0
		for _, r := range a.m.Routes() {
			if r.Peer == d.pk && r.TxPackets > 300 {
				n++
			}
		}
		return n == 2
	}
	streamOn(t, s, 0, both)
	eventually(t, "the queue to drain", func() bool { return s.waiting() == 0 })
	eventually(t, "reports", func() bool {
		y := s.spray.Load()
		y.mu.Lock()
		defer y.mu.Unlock()
		for _, l := range y.lanes {
			if l.srtt == 0 {
				return false
			}
		}
		return true
	})
	packets, disorder := d.inspect(t)
	if packets < 500 || disorder > packets/4 { // a machine that stands still for a while brings some
		t.Errorf("%d packets, %d out of order", packets, disorder)
	}
	for _, n := range []*node{a, d} {
		for why, count := range n.drops() {
			if why != DropQueueLong.String() {
				t.Errorf("%d drops: %s", count, why)
			}
		}
	}
}

// TestMuxRouteDies: the visor in the middle of one route forgets its rules, and says
// nothing. What is sent goes on over the other.
func TestMuxRouteDies(t *testing.T) {
	s, _, b, _, d := muxPair(t, nodeOptions{quiet: true})
	came := func() int {
		d.up.mu.Lock()
		defer d.up.mu.Unlock()
		return d.up.packets
	}
	seq := streamOn(t, s, 0, func() bool { return came() > 500 })
	for _, r := range b.forward.Rules() {
		if r.Op == "forward" {
			if err := b.forward.RemoveRule(r.InLabel); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, died := came(), time.Now()
	streamOn(t, s, seq, func() bool { return came() > before+2000 })
	t.Logf("2000 packets within %v", time.Since(died).Round(time.Millisecond))
}

// TestMuxOffAgain: a session that is no longer to spread sends what comes the ordinary way.
func TestMuxOffAgain(t *testing.T) {
	s, a, _, _, d := muxPair(t, nodeOptions{})
	s.mu.Lock()
	s.mux = false
	s.reschedule()
	s.mu.Unlock()
	if rtt, rate := s.Spread(); rtt != 0 || rate != 0 || s.spray.Load() != nil {
		t.Errorf("still spread: %v, %v bytes/s", rtt, rate)
	}
	if err := s.SendTCP(tcpHeader(0, tcpPSH), [][]byte{make([]byte, 100)}); err != nil {
		t.Fatal(err)
	}
	d.up.until(t, "the segment", func() bool { return d.up.packets == 1 })
	if n := a.m.resequencing.Load() + d.m.resequencing.Load(); n != 0 {
		t.Errorf("%d bytes held", n)
	}
}

// TestMuxDoesNotAllocate: as TestSendTCPDoesNotAllocate, and the receivers are in it.
func TestMuxDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	s, _, _, _, _ := muxPair(t, nodeOptions{quiet: true})
	hdr, data := tcpHeader(0, 0), [][]byte{make([]byte, superSegment)}
	least := math.Inf(1)
	for range 10 {
		least = min(least, testing.AllocsPerRun(1, func() {
			for range 100 {
				s.awaitRoom(t, 2*superSegment)
				if err := s.SendTCP(hdr, data); err != nil {
					t.Fatal(err)
				}
			}
		}))
	}
	if least >= 100 {
		t.Errorf("%v allocations per 100 super-segments, want none of the sender's", least)
	}
}

// BenchmarkSendTCPMux sends as fast as the pacers let it, with all receivers on the same
// machine.
func BenchmarkSendTCPMux(b *testing.B) {
	nodes := newNodes(b, 4, nodeOptions{mux: true, quiet: true})
	for i := 1; i <= 2; i++ {
		connect(b, nodes[0], nodes[i])
		connect(b, nodes[i], nodes[3])
		join(b, packet.Label(100*i), nodes[0], nodes[i], nodes[3])
	}
	s := nodes[0].dial(nodes[3])
	eventually(b, "packets to be spread", func() bool { _, rate := s.Spread(); return rate > 0 })
	hdr, data := tcpHeader(0, 0), [][]byte{make([]byte, superSegment)}
	b.SetBytes(superSegment)
	b.ReportAllocs()
	for b.Loop() {
		s.awaitRoom(b, 4*superSegment)
		if err := s.SendTCP(hdr, data); err != nil {
			b.Fatal(err)
		}
	}
}
