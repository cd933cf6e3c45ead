package link

import (
	"net/netip"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// A path carries probes up to a size; a search runs over it in simulated time.
type path struct {
	limit func(now int64) int
	rtt   int64
	lose  func(n int) bool // the nth probe
}

type inFlight struct {
	size int
	at   int64
}

// run lets s work for d and returns the MTU and how many probes were sent.
func (p *path) run(t *testing.T, s *mtuSearch, mtu int, from, d int64) (int, int) {
	t.Helper()
	var flying []inFlight
	probes := 0
	for now := from; now < from+d; now += int64(tickEvery) {
		for len(flying) > 0 && flying[0].at <= now {
			mtu = s.found(flying[0].size, mtu, now)
			flying = flying[1:]
		}
		var lo, hi int
		lo, hi, mtu = s.due(mtu, now, max(mtuWait, 2*p.rtt), uint64(now))
		for size := hi; size > lo; size = nextRung(size) {
			if size > s.top || size < packet.MinMTU {
				t.Fatalf("probe of %d bytes, want %d to %d", size, packet.MinMTU, s.top)
			}
			probes++
			if size <= p.limit(now) && !(p.lose != nil && p.lose(probes)) {
				flying = append(flying, inFlight{size, now + p.rtt})
			}
		}
	}
	return mtu, probes
}

func TestMTUSearch(t *testing.T) {
	for _, tt := range []struct {
		name             string
		top, limit, want int
		rtt              time.Duration
		lose             func(int) bool
		within           time.Duration
		most             int // probes
	}{
		{"all of it", 1440, 1500, 1440, time.Millisecond, nil, time.Second, 1},
		{"jumbo frames", 8928, 9000, 8928, time.Millisecond, nil, time.Second, 1},
		{"jumbo here, Ethernet there", 8928, 1444, 1440, time.Millisecond, nil, time.Second, 20},
		{"tunnel", 1440, 1391, 1376, 20 * time.Millisecond, nil, time.Second, 40},
		{"smallest", 1440, 1200, 1200, time.Millisecond, nil, time.Second, 40},
		{"top is the smallest", 1200, 1200, 1200, time.Millisecond, nil, time.Second, 1},
		{"not even that", 1440, 100, 1200, time.Millisecond, nil, time.Second, 40},
		{"half a second away", 1440, 1400, 1392, 500 * time.Millisecond, nil, 3 * time.Second, 40},
		{"two seconds away", 1440, 1400, 1392, 2 * time.Second, nil, 9 * time.Second, 40},
		{"two of three lost", 1440, 1400, 1392, time.Millisecond, func(n int) bool { return n > 1 && n < 23 }, time.Second, 60},
		{"a top between rungs", 1328, 1500, 1328, time.Millisecond, func(n int) bool { return n == 1 }, time.Second, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s mtuSearch
			s.start(tt.top, 0)
			p := path{func(int64) int { return tt.limit }, int64(tt.rtt), tt.lose}
			mtu, probes := p.run(t, &s, packet.MinMTU, 0, int64(tt.within))
			if mtu != tt.want || probes > tt.most {
				t.Errorf("MTU %d after %d probes, want %d after at most %d", mtu, probes, tt.want, tt.most)
			}
		})
	}
}

// TestMTUHeals shrinks a path in life: a black hole for at most ten seconds. When it
// grows again that is found too, later.
func TestMTUHeals(t *testing.T) {
	limit := 1440
	p := path{func(int64) int { return limit }, int64(10 * time.Millisecond), nil}
	var s mtuSearch
	s.start(1440, 0)
	now := int64(0)
	step := func(d int64) (mtu int) {
		mtu, _ = p.run(t, &s, packet.MinMTU, now, d)
		now += d
		return mtu
	}
	mtu := step(60 * second)
	if mtu != 1440 {
		t.Fatalf("MTU %d, want 1440", mtu)
	}
	limit = 1300
	mtu, _ = p.run(t, &s, mtu, now, 10*second)
	if now += 10 * second; mtu != 1280 {
		t.Fatalf("MTU %d ten seconds after the path shrank, want 1280", mtu)
	}
	limit = 1440
	mtu, _ = p.run(t, &s, mtu, now, mtuAgain)
	if s.phase != mtuStart {
		t.Fatalf("phase %d after %v, want a new search", s.phase, time.Duration(mtuAgain))
	}
	s.start(1440, now)
	if mtu, _ = p.run(t, &s, mtu, now, second); mtu != 1440 {
		t.Errorf("MTU %d, want 1440", mtu)
	}
}

// TestMTUMadeUp lets the peer claim sizes that make no sense.
func TestMTUMadeUp(t *testing.T) {
	var s mtuSearch
	if got := s.found(1440, 1200, 0); got != 1200 {
		t.Errorf("found before the search: %d", got)
	}
	s.start(1440, 0)
	for _, size := range []int{0, 16, 1184, 1201, 1439, 1456, 65535} {
		if got := s.found(size, 1200, 0); got != 1200 {
			t.Errorf("found(%d) = %d, want 1200", size, got)
		}
	}
}

func TestPacketFor(t *testing.T) {
	for _, tt := range []struct {
		mtu  int
		to   string
		want int
	}{
		{1500, "192.0.2.1", 1440}, {1500, "2001:db8::1", 1408}, {1280, "2001:db8::1", 1200}, {9000, "192.0.2.1", 8928},
		{65536, "::1", maxUDPPacket}, {0, "192.0.2.1", packet.MinMTU}, {-1, "192.0.2.1", packet.MinMTU},
	} {
		if got := packetFor(tt.mtu, netip.MustParseAddr(tt.to)); got != tt.want {
			t.Errorf("packetFor(%d, %s) = %d, want %d", tt.mtu, tt.to, got, tt.want)
		}
	}
}

// TestMTUOnAPath probes over a real path that drops what is too large, which then
// shrinks under a transfer.
func TestMTUOnAPath(t *testing.T) {
	t.Parallel()
	cb := newAuditor()
	an, bn := newNode(t, nil), startNode(t, cb, cb.sink, nil)
	p, ab, _ := through(t, an, bn)
	narrow := func(most int) {
		p.setMangle(func(_ bool, pkt []byte) [][]byte {
			if len(pkt) > most {
				return nil
			}
			return [][]byte{pkt}
		})
	}
	narrow(1400 - 28)
	ab.mu.Lock()
	ab.startMTU()
	ab.mu.Unlock()
	until(t, 5*time.Second, "the MTU fits the path", func() bool { return ab.MTU() == 1312 }) // 1340 fit, 1344 do not
	narrow(1280 - 28)
	load(t, ab, 0, 2, 256, time.Millisecond) // busy, so looked after
	until(t, 10*time.Second, "the MTU has followed", func() bool { return ab.MTU() == packet.MinMTU })
	cb.progress(t, 100)
}

// TestTooBigForTheInterface has the system refuse a datagram.
func TestTooBigForTheInterface(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, nil)
	ab, _ := join(t, an, bn)
	until(t, 5*time.Second, "the MTU is found", func() bool { return ab.MTU() == maxUDPPacket })
	began := func() int64 {
		ab.mu.Lock()
		defer ab.mu.Unlock()
		return ab.state.mtu.began
	}
	before := began()
	send(t, ab, 9, 1, packet.MaxRoutePacket) // no IP packet is so large
	if n := an.Drops()["send"]; n != 1 {
		t.Errorf("%d send drops counted, want 1", n)
	}
	until(t, 5*time.Second, "a new search has ended", func() bool { return began() > before && ab.MTU() == maxUDPPacket })
	send(t, ab, 9, 1, 1200)
	bn.wait(t, 1)
}
