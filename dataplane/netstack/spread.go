package netstack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A Spreader is a Peer that may spread the packets of a stream over several paths at
// once, each at its own pace. *session.Session implements it.
type Spreader interface {
	Peer
	// Spread returns the round trip of the slowest path that packets are spread over, and
	// the rate of all of them in bytes per second. Both are 0 where packets are not spread.
	Spread() (rtt time.Duration, rate float64)
}

// paths is what a stream knows of the paths that it is spread over.
//
// A stream by itself sees one path only. It measures the round trip of the quickest while
// it is slow enough for that one alone, and held near what that holds it would never come
// to use the others. And its slow start ends where the round trip grows (HyStart), which it
// does when the second path joins in; CUBIC takes ten seconds from there to fill both. The
// floor below knows better: it paces each path and keeps what is too much in a queue of its
// own. So a stream's slow start goes on up to its share of what the paths hold.
type paths struct {
	rtt       time.Duration
	rate      float64
	threshold *int   // the endpoint's ssthresh; nil if not found
	sent      uint64 // when last looked at; tend's
}

// noticeSpread asks the session about its paths, and reports whether the stream has used
// them since it was last asked.
func (c *Conn) noticeSpread() bool {
	var s paths
	if peer, ok := c.stack.cfg.Network.Lookup(c.remote.overlay()); ok {
		if p, ok := peer.(Spreader); ok {
			s.rtt, s.rate = p.Spread()
		}
	}
	old := c.spread.Load()
	if old == nil && s.rtt == 0 {
		return false // as nearly always
	}
	s.sent = c.sent.Load()
	if old != nil {
		s.threshold = old.threshold
	}
	if s.threshold == nil {
		s.threshold = c.slowStartThreshold()
	}
	c.spread.Store(&s)
	return s.rtt > 0 && old != nil && s.sent != old.sent
}

// path returns the round trip of the slowest path that the stream is spread over, or 0.
func (c *Conn) path() time.Duration {
	if s := c.spread.Load(); s != nil {
		return s.rtt
	}
	return 0
}

// slowStartThreshold finds where gVisor keeps it, nil if it cannot.
func (c *Conn) slowStartThreshold() *int {
	e, ok := c.ep.(*tcp.Endpoint)
	if !ok {
		return nil
	}
	e.LockUser()
	defer e.UnlockUser()
	s := senderState(e)
	if s == nil {
		return nil
	}
	return &s.Ssthresh
}

// goOn lets slow start go on to the stream's share of what its paths hold.
func (c *Conn) goOn(info *tcpip.TCPInfoOption) {
	s := c.spread.Load()
	if s == nil || s.rtt == 0 || s.threshold == nil || info.CcState != tcpip.Open {
		return
	}
	share := max(1, int(c.stack.budget.spreading.Load()))
	want := int(headroom*s.rate*s.rtt.Seconds()) / share / mss
	if want <= int(int32(info.SndSsthresh)) {
		return
	}
	e := c.ep.(*tcp.Endpoint)
	e.LockUser()
	if *s.threshold < want {
		*s.threshold = want
	}
	e.UnlockUser()
}
