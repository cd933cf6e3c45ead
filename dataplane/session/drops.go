package session

import "sync/atomic"

// A DropReason says why something that arrived, or was to be sent, went no further.
type DropReason uint8

// Drop reasons.
const (
	DropMalformed     DropReason = iota // does not parse, or has unknown flags
	DropKind                            // a kind that no route carries to its end
	DropProto                           // a payload of unknown protocol
	DropNoKeys                          // sealed under a key phase that is not in use here
	DropUnbound                         // no route id agreed for this route and these keys
	DropForged                          // does not open: also what arrives unsealed
	DropReplayed                        // packet number seen before, or too old to tell
	DropHandshake                       // handshake message that does not open or make sense
	DropHandshakeOld                    // handshake no newer than one before
	DropHandshakeTie                    // crossed one of ours that goes first
	DropHandshakeBusy                   // over the limits on handshakes
	DropBind                            // route id that belongs to another route, or is over
	DropFragment                        // piece that overlaps, contradicts, or is too much
	DropNoRoute                         // nothing to send on
	DropTooBig                          // larger than fragments allow
	DropSend                            // the link went down underneath, or a key was used up
	DropQueueFull                       // no room before the pacers of a mux session
	DropQueueLong                       // waited too long there: CoDel
	numDropReasons
)

var dropNames = [numDropReasons]string{
	DropMalformed:     "malformed",
	DropKind:          "kind",
	DropProto:         "proto",
	DropNoKeys:        "no_keys",
	DropUnbound:       "unbound",
	DropForged:        "forged",
	DropReplayed:      "replayed",
	DropHandshake:     "handshake",
	DropHandshakeOld:  "handshake_old",
	DropHandshakeTie:  "handshake_tie",
	DropHandshakeBusy: "handshake_busy",
	DropBind:          "bind",
	DropFragment:      "fragment",
	DropNoRoute:       "no_route",
	DropTooBig:        "too_big",
	DropSend:          "send",
	DropQueueFull:     "queue_full",
	DropQueueLong:     "queue_long",
}

// String returns the name that metrics and people see.
func (r DropReason) String() string {
	if int(r) < len(dropNames) {
		return dropNames[r]
	}
	return "unknown"
}

// drops counts by reason. All of it is off the path of a packet that passes.
type drops [numDropReasons]atomic.Uint64

func (d *drops) add(r DropReason) { d[r].Add(1) }

// Drops returns how many packets were dropped, by the reason's name; reasons that
// never happened are left out.
func (m *Manager) Drops() map[string]uint64 {
	all := make(map[string]uint64)
	for r := range m.drops {
		if n := m.drops[r].Load(); n > 0 {
			all[DropReason(r).String()] = n
		}
	}
	return all
}
