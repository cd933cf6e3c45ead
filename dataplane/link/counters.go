package link

import "sync/atomic"

// A DropReason says why a datagram or packet went no further. Each has a counter
// and each drop site has its own.
type DropReason uint8

// Reasons, in the order in which a datagram meets them.
const (
	DropMalformed      DropReason = iota // no frame of ours, or its length is impossible
	DropForeign                          // STUN or TURN, and nobody shares the socket
	DropStray                            // of another worker, and it cannot be passed on
	DropUnknownIndex                     // no key has this receiver index
	DropReplay                           // counter seen before, or too old to tell
	DropAuth                             // tag wrong
	DropControl                          // link control that makes no sense
	DropMAC1                             // handshake for another key, or noise
	DropNoCookie                         // under load and without a valid mac2
	DropRate                             // more handshakes from one place than its share
	DropHandshakeQueue                   // more handshakes than we can compute
	DropHandshake                        // handshake message that does not open or parse
	DropTimestamp                        // initiation replayed or out of order
	DropPolicy                           // neighbour not allowed, or over a cap
	DropTie                              // initiation that lost against our own
	DropSend                             // the system refused to send
	DropRecord                           // stream record that does not open or parse
	DropCrowded                          // connection that gave way to a newer one before it proved a key
	dropReasons
)

var dropNames = [dropReasons]string{
	"malformed", "foreign", "stray", "unknown_index", "replay", "auth", "control", "bad_mac1", "no_cookie",
	"handshake_rate", "handshake_queue", "bad_handshake", "old_timestamp", "policy", "tie", "send", "bad_record", "crowded",
}

// String returns the name that users and metrics see.
func (r DropReason) String() string { return dropNames[r] }

// counters are the engine's drops. Drops are rare or hostile: one shared atomic
// per reason is cheap enough.
type counters struct {
	drops [dropReasons]atomic.Uint64
}

func (c *counters) count(r DropReason) { c.drops[r].Add(1) }

// Drops returns how much was dropped for each reason, by name. Reasons that never
// occurred are left out.
func (c *counters) Drops() map[string]uint64 {
	m := map[string]uint64{}
	for r := range dropReasons {
		if n := c.drops[r].Load(); n > 0 {
			m[r.String()] = n
		}
	}
	return m
}
