package link

import (
	"encoding/binary"

	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// maxUDPPacket is the largest route packet that we try over UDP: what a jumbo
// frame of 9000 bytes carries. On larger paths (loopback) GSO does the rest.
const maxUDPPacket = 8928

// mtuLadder are the sizes to try, largest first, below what the local interface
// allows: Ethernet, PPPoE, common tunnels, and what every IPv6 path carries.
var mtuLadder = [...]int{8928, 4064, 1440, 1424, 1408, 1392, 1376, 1360, 1344, 1312, 1280, 1248, packet.MinMTU}

const (
	mtuTries   = 3            // probes of one size before the next smaller is tried
	mtuEvery   = second / 5   // between probes
	mtuAgainOK = 600 * second // a larger size is tried again after this
	mtuCheck   = 30 * second  // the present size is checked after this
)

// An mtuSearch finds the largest packet that gets through. Guarded by Link.mu.
type mtuSearch struct {
	top     int   // do not try more: local interface and the peer's offer
	size    int   // being tried
	tries   int   // of size
	next    int64 // when to send the next probe
	running bool
	began   int64
}

// packetFor returns the largest route packet that fits an IP packet of mtu bytes
// to an IPv4 or IPv6 address.
func packetFor(mtu int, v6 bool) int {
	headers := 20 + 8
	if v6 {
		headers = 40 + 8
	}
	n := (mtu - headers - packet.FrameOverhead) &^ (packet.RouteAlign - 1)
	return min(max(n, packet.MinMTU), maxUDPPacket)
}

// startMTU begins a search; the link keeps its present MTU meanwhile. Called with
// l.mu held.
func (l *Link) startMTU(now int64) {
	top := maxUDPPacket
	if hint, err := udpio.PathMTUHint(l.state.addr); err == nil {
		top = packetFor(hint, l.state.addr.Addr().Is6())
	}
	top = min(top, l.state.offer.maxPacket&^(packet.RouteAlign-1))
	l.state.mtu = mtuSearch{top: top, size: top, next: now, running: true, began: now}
}

// probeMTU sends the probe that is due, if any. Called by the timer.
func (l *Link) probeMTU(now int64) {
	l.mu.Lock()
	s := &l.state.mtu
	if l.typ != SUDPH || now < s.next {
		l.mu.Unlock()
		return
	}
	switch {
	case !s.running && now-s.began > mtuAgainOK:
		l.startMTU(now)
	case !s.running: // does the present size still get through?
		s.size, s.tries, s.running = l.MTU(), 0, true
	}
	if s.tries == mtuTries {
		s.tries, s.size = 0, nextRung(s.size)
		if s.size < l.MTU() { // what worked does no more
			l.mtu.Store(int32(s.size))
		}
	}
	if s.size == packet.MinMTU { // nothing left to find out
		s.running, s.next = false, now+mtuCheck
		l.mu.Unlock()
		return
	}
	s.tries++
	s.next = now + mtuEvery
	size := s.size
	l.mu.Unlock()

	body := make([]byte, size-packet.RouteHeaderLen)
	binary.BigEndian.PutUint16(body, uint16(size))
	l.sendControl(packet.KindMTUProbe, body)
}

// nextRung returns the largest size on the ladder below size.
func nextRung(size int) int {
	for _, s := range mtuLadder {
		if s < size {
			return s
		}
	}
	return packet.MinMTU
}

// mtuFound hears that a probe of this size arrived.
func (l *Link) mtuFound(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.state.mtu
	if !s.running || size != s.size {
		return // late, or made up
	}
	s.running, s.tries = false, 0
	s.next = l.e.clock.Load() + mtuCheck
	l.mtu.Store(int32(size))
}
