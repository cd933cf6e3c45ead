package netstack

import "time"

// A Spreader is a Peer that may spread the packets of a stream over several paths at
// once. *session.Session implements it.
type Spreader interface {
	Peer
	// PathRTT returns the round trip of the slowest path that packets are spread over, 0
	// if they are not spread.
	PathRTT() time.Duration
}

// noticeSpread notes what the session says of the paths. A stream measures the round trip
// of the quickest path while it is slow enough for that one alone; held near what that
// one holds, it would never come to use the others.
func (c *Conn) noticeSpread() {
	peer, ok := c.stack.cfg.Network.Lookup(c.remote.overlay())
	if !ok {
		return
	}
	if s, ok := peer.(Spreader); ok {
		c.spread.Store(int64(s.PathRTT()))
	}
}

// path returns the round trip of the slowest path that the stream is spread over.
func (c *Conn) path() time.Duration { return time.Duration(c.spread.Load()) }
