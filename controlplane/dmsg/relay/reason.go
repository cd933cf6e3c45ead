package relay

// A Reason says why a connection was refused, a session ended or a stream was
// reset. Each is a counter.
type Reason uint8

// The reasons. Those from ViolationHeader on are the peer's breaches of the
// protocol.
const (
	ReasonNone Reason = iota

	RefusedDraining  // the relay is about to stop
	RefusedTotal     // the limit of all sessions
	RefusedAddress   // the limit of sessions or handshakes from one address
	RefusedKey       // the key comes back too often
	RefusedHandshake // no or no good handshake in time
	RefusedProxy     // no or no good PROXY header in time

	EndedByPeer     // the peer closed its connection
	EndedByError    // the connection broke
	EndedReplaced   // the same key opened a newer session
	EndedSilent     // no sign of life, not even to a ping
	EndedNotReading // the peer took none of what was queued for it
	EndedByShutdown // the relay stopped

	ResetNoSession   // the destination has no session here
	ResetCapacity    // a limit of streams or set-ups
	ResetRequest     // the request is malformed, forged or a repetition
	ResetResponse    // so is the response
	ResetTimeout     // request or response did not come in time
	ResetByListener  // the listener closed the stream instead of answering
	ResetByDialer    // the dialer gave up before there was an answer
	ResetStalled     // the receiver took too little for too long
	ResetSessionGone // the session at the other end ended

	ViolationHeader    // unknown version, type or flags
	ViolationStreamID  // a stream opened with an id that is not the peer's to choose
	ViolationSYN       // a stream opened twice
	ViolationUnknown   // a frame for a stream that never was
	ViolationClosed    // more data for closed streams than was under way
	ViolationWindow    // data beyond the credit
	ViolationEarly     // data behind the request before there was a response
	ViolationSYNFlood  // streams opened again and again beyond the limits
	ViolationNoReading // answers to the peer's own frames pile up unread
	ViolationForged    // request after request is forged or a repetition
	ViolationGoAway    // the peer says that we broke the protocol

	numReasons
)

// String returns the reason as metrics and logs have it.
func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Violation reports whether the peer broke the protocol.
func (r Reason) Violation() bool { return r >= ViolationHeader && r < numReasons }

// Kind returns what the reason ended: "refused" a connection, "ended" a session
// (violations as well), "reset" a stream, or "" for ReasonNone.
func (r Reason) Kind() string {
	switch {
	case r >= RefusedDraining && r < EndedByPeer:
		return "refused"
	case r >= ResetNoSession && r < ViolationHeader:
		return "reset"
	case r >= EndedByPeer && r < numReasons:
		return "ended"
	}
	return ""
}

var reasonNames = [numReasons]string{
	ReasonNone:         "none",
	RefusedDraining:    "draining",
	RefusedTotal:       "total_limit",
	RefusedAddress:     "address_limit",
	RefusedKey:         "key_rate",
	RefusedHandshake:   "handshake",
	RefusedProxy:       "proxy_header",
	EndedByPeer:        "closed_by_peer",
	EndedByError:       "connection_error",
	EndedReplaced:      "replaced",
	EndedSilent:        "silent",
	EndedNotReading:    "not_reading",
	EndedByShutdown:    "shutdown",
	ResetNoSession:     "no_session",
	ResetCapacity:      "capacity",
	ResetRequest:       "bad_request",
	ResetResponse:      "bad_response",
	ResetTimeout:       "timeout",
	ResetByListener:    "closed_by_listener",
	ResetByDialer:      "closed_by_dialer",
	ResetStalled:       "receiver_stalled",
	ResetSessionGone:   "session_gone",
	ViolationHeader:    "violation_header",
	ViolationStreamID:  "violation_stream_id",
	ViolationSYN:       "violation_duplicate_syn",
	ViolationUnknown:   "violation_unknown_stream",
	ViolationClosed:    "violation_closed_stream",
	ViolationWindow:    "violation_window_overrun",
	ViolationEarly:     "violation_early_data",
	ViolationSYNFlood:  "violation_syn_flood",
	ViolationNoReading: "violation_not_reading",
	ViolationForged:    "violation_forged_requests",
	ViolationGoAway:    "violation_go_away",
}
