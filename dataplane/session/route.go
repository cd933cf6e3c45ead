package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A route is one way to the session's peer and back. It implements forward.Sink
// and forward.Origin.
type route struct {
	s    *Session
	n    uint64 // number for people, unique in the Manager
	spec RouteSpec

	lost   bool            // it did not end for good: streams may go on over what takes its place; guarded by Session.mu
	direct *link.Link      // a direct route's link, else nil
	egress *forward.Egress // a sealed route's first hop
	rule   *forward.Rule   // and its end
	id     uint32          // its route id in our direction

	// What senders load.
	send atomic.Pointer[sendState] // nil on a direct route, and before keys
	mtu  atomic.Int32              // of a sealed route

	tx, txBytes           atomic.Uint64 // data packets and their bodies
	rx, rxBytes           atomic.Uint64
	replies               atomic.Uint64
	lastRTT               atomic.Int64 // ns, of the last reply
	lastHeard             atomic.Int64 // engine clock of the last authentic packet
	confirmed             atomic.Int32 // largest probe that came back since the last tick
	hinted                atomic.Int32 // smallest MTU that a hop named since the last tick, 0: none
	doubted               atomic.Bool  // a hop said that packets are lost
	errCode               atomic.Uint32
	over                  atomic.Uint32 // the RouteEvent that is to end it, 0: none
	probeAt               atomic.Int64  // when the last probe left, and how many data
	probeTx               atomic.Uint64 // packets had before it
	echoed                atomic.Bool   // its reply has come since the last tick
	peerPackets, peerRecv atomic.Uint64 // what the last reply says has arrived there
	handshakes            bucket        // limits what this label may ask of the handshaker

	// rx state: whoever delivers for this route holds it. The packets of one
	// neighbour come on the worker of its link, so it is free but for the moment
	// when they change to another link.
	recvMu sync.Mutex
	recv   [packet.PhaseMask + 1]*recvState
	muxIn  muxCount

	// The rest is guarded by Session.mu.
	health  health
	search  mtuSearch
	share   share
	yield   yield
	told    RouteEvent // as OnRoute knows it
	usable  bool       // in the table of routes
	next    *sendState // number space under the newest keys
	acked   *sendState // the last of them that the peer has said to have bound
	bindAt  time.Duration
	bindTry int
	gone    bool // removed
}

// link returns the link to send on, or nil.
func (r *route) link() *link.Link {
	if r.direct != nil {
		if r.direct.Up() && r.direct.DirectLabel() != 0 {
			return r.direct
		}
		return nil
	}
	return r.egress.Link()
}

// firstHop names the neighbour that packets leave to.
func (r *route) firstHop() forward.Neighbour {
	if r.direct != nil {
		return forward.Neighbour{Peer: r.direct.Peer(), Type: r.direct.Type()}
	}
	return r.spec.Out
}

// ready reports whether packets can be sent now: there is a link and, on a sealed
// route, keys to seal with.
func (r *route) ready() bool {
	return r.link() != nil && (r.direct != nil || r.send.Load() != nil)
}

// state returns what the route is good for now. Session.mu is held.
func (r *route) state() State {
	if !r.ready() {
		return StateWaiting
	}
	return r.health.state
}

// end lets the ticker remove the route.
func (r *route) end(why RouteEvent) {
	r.over.CompareAndSwap(0, uint32(why))
	r.s.m.wake()
}

// idle returns how often a quiet route wants a probe: so often that the rules of its
// hops, which have its TTL, outlive several that are lost.
func (r *route) idle() time.Duration {
	if r.direct != nil {
		return 0 // its link looks after itself
	}
	if r.spec.TTL > 0 {
		return min(idleProbe, r.spec.TTL/4)
	}
	return idleProbe
}

// packetMTU returns the largest route packet for l, the route's link.
func (r *route) packetMTU(l *link.Link) int {
	if r.direct != nil {
		return l.MTU()
	}
	return min(int(r.mtu.Load()), l.MTU())
}

// label returns the label to send under on l, the route's link.
func (r *route) label(l *link.Link) packet.Label {
	if r.direct != nil {
		return l.DirectLabel()
	}
	return r.egress.Label()
}

// encoder prepares to send on l through tx.
func (r *route) encoder(tx *link.Tx, l *link.Link, sc *scratch) (e encoder, ok bool) {
	e = encoder{tx: tx, label: r.label(l), nonce: &sc.nonce}
	if r.direct == nil {
		if e.seal = r.send.Load(); e.seal == nil {
			return e, false
		}
	}
	tx.Start(l)
	return e, true
}

// traffic returns the counters that health follows.
func (r *route) traffic() traffic {
	return traffic{tx: r.tx.Load(), rx: r.rx.Load(), replies: r.replies.Load(), rtt: ns(r.lastRTT.Load())}
}

// RouteError takes a hop's hint. See forward.Origin.
func (r *route) RouteError(code uint8, mtu int) {
	r.errCode.Store(uint32(code))
	switch code {
	case forward.CodeTooBig:
		r.hinted.Store(int32(mtu))
	case forward.CodeNoLabel, forward.CodeLinkDown:
		r.doubted.Store(true)
		r.s.shakeDropped()
	}
	r.s.m.wake()
}

// forget lets go of number spaces whose keys are over. It does nothing while
// packets are being delivered; the next tick comes.
func (r *route) forget(now time.Duration) {
	if !r.recvMu.TryLock() { // Session.mu is held, and recvMu comes first
		return
	}
	defer r.recvMu.Unlock()
	for phase, rs := range r.recv {
		if rs != nil && r.s.ring.Lookup(uint32(phase), now) != rs.epoch {
			r.recv[phase] = nil
		}
	}
}

// raise stores v in a if it is larger.
func raise(a *atomic.Int32, v int32) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// What one label may ask of the handshaker: ten messages a second after a burst of
// eight. A rekey each second is two.
const (
	labelEvery = 100 * time.Millisecond
	labelDepth = 8 * labelEvery
)

// A bucket allows one thing per interval, and a burst that takes up depth.
type bucket struct{ until time.Duration }

func (b *bucket) take(now, every, depth time.Duration) bool {
	if b.until+every > now+depth {
		return false
	}
	b.until = max(b.until, now) + every
	return true
}
