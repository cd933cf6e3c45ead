package netstack

import "sync/atomic"

// A DropReason says why a packet went no further.
type DropReason uint8

// The reasons, in the order of [Stack.Drops].
const (
	DropMalformed DropReason = iota // a TCP or UDP header that does not fit its packet
	DropProto                       // a protocol that nothing here speaks
	DropNoPeer                      // no session to the destination
	DropSend                        // the session refused the packet
	DropNoPort                      // no socket on the datagram's port
	DropFull                        // the socket's queue is full
	DropForeign                     // a connected socket got a datagram from elsewhere
	DropHalfOpen                    // one more stream begun by a key that has begun too many
	DropStreams                     // a stream, reset: over the budget or its key's share of it
	numDropReasons
)

// String returns the name as metrics have it.
func (r DropReason) String() string {
	names := [numDropReasons]string{"malformed", "proto", "no_peer", "send", "no_port", "full", "foreign", "half_open", "streams"}
	if r >= numDropReasons {
		return "unknown"
	}
	return names[r]
}

// drops counts packets by reason.
type drops [numDropReasons]atomic.Uint64

func (d *drops) add(r DropReason, n int) {
	if n > 0 {
		d[r].Add(uint64(n))
	}
}

// Drops returns how many packets were dropped for each reason since New.
func (s *Stack) Drops() map[DropReason]uint64 {
	m := make(map[DropReason]uint64, numDropReasons)
	for r := range numDropReasons {
		m[r] = s.drops[r].Load()
	}
	return m
}
