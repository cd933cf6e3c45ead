package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// maxUDPPacket is the largest route packet that we try over UDP: what a jumbo
// frame of 9000 bytes carries. On larger paths (loopback) GSO does the rest.
const maxUDPPacket = 8928

// mtuLadder are the sizes to try, largest first, below what the local interface
// allows: Ethernet, PPPoE, common tunnels, and what every IPv6 path carries.
var mtuLadder = [...]int{8928, 4064, 1440, 1424, 1408, 1392, 1376, 1360, 1344, 1312, 1280, 1248, packet.MinMTU} // never written

const (
	mtuTries = 3          // of one size, or of all, before they count as too big
	mtuWait  = second / 5 // for an answer, or two round trips if that is longer

	mtuAgain     = 600 * second // a larger size is tried again after this
	mtuCheckBusy = 5 * second   // does the present size still get through?
	mtuCheckIdle = 60 * second
)

// An mtuPhase is what an mtuSearch is about.
type mtuPhase uint8

const (
	mtuStart mtuPhase = iota // the top is not known yet
	mtuTop                   // most paths carry the top: try that alone
	mtuSweep                 // then all other sizes at once
	mtuRest
	mtuProof // of the present size
)

// An mtuSearch finds the largest packet that gets through, and sees when that
// shrinks: first the size that the local interface carries is tried, then all
// smaller ones on the ladder at once, three times. Each answer raises the MTU at
// once. The zero value is ready to start. Pure: time and sizes come in and go out.
type mtuSearch struct {
	phase   mtuPhase
	top     int   // do not try more: local interface and the peer's offer
	tries   int   // in this phase
	next    int64 // when to go on
	began   int64 // when the top was tried first
	checked int64 // when a size was last seen to get through
	sent    uint64
}

// start begins a search up to top bytes.
func (s *mtuSearch) start(top int, now int64) {
	*s = mtuSearch{phase: mtuTop, top: max(top, packet.MinMTU), began: now, checked: now, next: now}
}

// due returns the sizes of the probes to be sent now, most of the time none, and the
// MTU, which falls when the present one has stopped to get through. wait is how long
// an answer may take, sent the link's packet count. The sizes are those of the
// ladder, and top, in lo < size <= hi.
func (s *mtuSearch) due(mtu int, now, wait int64, sent uint64) (lo, hi, newMTU int) {
	if now < s.next || s.phase == mtuStart {
		return 0, 0, mtu
	}
	s.next = now + wait
	if s.phase == mtuRest {
		if !s.wake(mtu, now, sent) {
			return 0, 0, mtu
		}
	}
	switch {
	case s.phase == mtuTop && s.tries == 1, s.phase == mtuProof && s.tries == mtuTries:
		if s.phase == mtuProof {
			mtu = packet.MinMTU // what worked does no more
		}
		s.phase, s.tries = mtuSweep, 0
	case s.phase == mtuSweep && (s.tries == mtuTries || mtu >= s.top):
		s.rest(now)
		return 0, 0, mtu
	}
	s.tries++
	switch s.phase {
	case mtuTop:
		return s.top - 1, s.top, mtu
	case mtuProof:
		return mtu - 1, mtu, mtu
	}
	return mtu, s.top, mtu
}

// wake ends the rest if it is time for another look.
func (s *mtuSearch) wake(mtu int, now int64, sent uint64) bool {
	busy := sent != s.sent
	s.sent = sent
	idle := now - s.checked
	switch {
	case now-s.began >= mtuAgain:
		s.phase = mtuStart
		return false
	case mtu > packet.MinMTU && (idle >= mtuCheckIdle || busy && idle >= mtuCheckBusy):
		s.phase, s.tries = mtuProof, 0
		return true
	}
	s.next = now + second
	return false
}

func (s *mtuSearch) rest(now int64) {
	s.phase, s.tries, s.next = mtuRest, 0, now+second
}

// found hears that a probe of this size arrived, and returns the MTU. Answers may be
// late: what got through got through.
func (s *mtuSearch) found(size, mtu int, now int64) int {
	if s.phase == mtuStart || size > s.top || size < mtu || size%packet.RouteAlign != 0 {
		return mtu
	}
	s.checked = now
	if size == s.top || s.phase == mtuProof {
		s.rest(now)
	}
	return size
}

// packetFor returns the largest route packet that fits an IP packet of mtu bytes
// to an IPv4 or IPv6 address.
func packetFor(mtu int, to netip.Addr) int {
	headers := 20 + 8
	if to.Is6() {
		headers = 40 + 8
	}
	n := (mtu - headers - packet.FrameOverhead) &^ (packet.RouteAlign - 1)
	return min(max(n, packet.MinMTU), maxUDPPacket)
}

// startMTU begins a search from the smallest size, for a path that we do not know.
// Called with l.mu held.
func (l *Link) startMTU() {
	if l.typ == SUDPH {
		l.state.mtu = mtuSearch{}
		l.mtu.Store(packet.MinMTU)
	}
}

// pathShrank hears that something was too large for the local interface or for what
// the kernel knows of the path to an address.
func (l *Link) pathShrank(to netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st := l.send.Load(); st != nil && st.addr == to {
		l.startMTU()
	}
}

// probeMTU sends the probes that are due, if any. Called by the timer.
func (l *Link) probeMTU(now int64) {
	st := l.send.Load()
	if st == nil || st.path != nil { // not before the peer has proved to be there
		return
	}
	l.mu.Lock()
	starting := l.state.mtu.phase == mtuStart
	most := l.state.offer.maxPacket &^ (packet.RouteAlign - 1)
	l.mu.Unlock()
	top := maxUDPPacket
	if starting { // ask the system with no lock held
		if hint, err := udpio.PathMTUHint(st.addr); err == nil {
			top = packetFor(hint, st.addr.Addr())
		}
	}
	l.mu.Lock()
	if s := &l.state.mtu; starting && s.phase == mtuStart {
		s.start(min(top, most), now)
	}
	lo, hi, mtu := l.state.mtu.due(l.MTU(), now, max(mtuWait, 2*l.rtt.Load()), l.txPackets.Load())
	l.mtu.Store(int32(mtu))
	l.mu.Unlock()
	l.sendMTUProbes(lo, hi)
}

// sendMTUProbes sends one probe of size hi and one of each rung between lo and hi.
func (l *Link) sendMTUProbes(lo, hi int) {
	for size := hi; size > lo; size = nextRung(size) {
		body := make([]byte, size-packet.RouteHeaderLen)
		binary.BigEndian.PutUint16(body, uint16(size))
		l.sendControl(packet.KindMTUProbe, body)
	}
}

// nextRung returns the largest size on the ladder below size, or 0.
func nextRung(size int) int {
	for _, s := range mtuLadder {
		if s < size {
			return s
		}
	}
	return 0
}

// mtuFound hears that a probe of this size arrived at the peer.
func (l *Link) mtuFound(size int, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mtu.Store(int32(l.state.mtu.found(size, l.MTU(), now)))
}
