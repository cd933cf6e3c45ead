package session

import (
	"encoding/binary"
	"math"
	"runtime/debug"
	"testing"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

const superSegment = 60_000

// sender returns a session to send on, direct or through a middle node.
func sender(t testing.TB, hops int) (*Session, *node) {
	nodes := newNodes(t, 1+hops, nodeOptions{quiet: true})
	for i := range hops {
		connect(t, nodes[i], nodes[i+1])
	}
	if hops > 1 {
		join(t, 100, nodes...)
	}
	return nodes[0].dial(nodes[hops]), nodes[hops]
}

// TestSendTCPDoesNotAllocate: the count is of the whole process, whose links and
// tickers allocate now and then, more in a run that a busy machine draws out; a
// sender that allocated for each packet would make 4,000 in every run, for each call
// 100. So the quietest of some runs tells.
func TestSendTCPDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	for hops := 1; hops <= 2; hops++ {
		s, _ := sender(t, hops)
		hdr, data := tcpHeader(0, 0), [][]byte{make([]byte, superSegment)}
		least := math.Inf(1)
		for range 10 {
			least = min(least, testing.AllocsPerRun(1, func() {
				for range 100 {
					if err := s.SendTCP(hdr, data); err != nil {
						t.Fatal(err)
					}
				}
			}))
		}
		if least >= 100 {
			t.Errorf("%d hops: %v allocations per 100 super-segments, want none of the sender's", hops, least)
		}
	}
}

func benchmarkSend(b *testing.B, hops int) {
	s, _ := sender(b, hops)
	hdr, data := tcpHeader(0, 0), [][]byte{make([]byte, superSegment)}
	b.SetBytes(superSegment)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.SendTCP(hdr, data); err != nil {
			b.Fatal(err)
		}
	}
}

// The first is sealed once, by the link; the second by session and link. The
// receivers share the machine.
func BenchmarkSendTCPDirect(b *testing.B) { benchmarkSend(b, 1) }
func BenchmarkSendTCPSealed(b *testing.B) { benchmarkSend(b, 2) }

// BenchmarkReceive opens bursts of 44 sealed packets; sealing them again for each
// round is in the figure, so halve it.
func BenchmarkReceive(b *testing.B) {
	s := newBare(b)
	s.up.quiet = true
	var pkts [44][]byte
	for i := range pkts {
		pkts[i] = s.sealAt(packet.KindData, append([]byte{packet.ProtoTCP}, make([]byte, 1380)...), 0)
	}
	burst := new(link.Burst)
	burst.N = copy(burst.Pkt[:], pkts[:])
	var nonce noise.Nonce
	b.SetBytes(44 * 1380)
	b.ReportAllocs()
	for b.Loop() {
		for _, pkt := range pkts {
			counter, _ := s.send.counter.Reserve(1)
			binary.BigEndian.PutUint64(pkt[8:], counter)
			text := pkt[16 : 16+1381]
			text[0] = packet.ProtoTCP
			s.send.epoch.Send.Seal(text[:0], text, pkt[4:8], &nonce, s.send.id, counter)
		}
		s.sealed.Receive(burst, 0, burst.N, nil)
	}
	if d := s.s.m.Drops(); len(d) != 0 {
		b.Fatalf("drops %v", d)
	}
}
