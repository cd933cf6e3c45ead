package relay

import "sync/atomic"

// stats counts for the whole relay.
type stats struct {
	reasons [numReasons]atomic.Uint64
	bytesIn atomic.Uint64
	dials   atomic.Uint64
	admits  atomic.Uint64
	streams atomic.Int64 // that pass now
}

func (s *stats) count(why Reason) { s.reasons[why].Add(1) }

// A Snapshot is what a relay has done so far and holds now.
type Snapshot struct {
	Sessions, Handshakes int    // now
	Streams              int64  // that pass now
	Admitted             uint64 // sessions ever
	Dials                uint64 // streams that were set up, ever
	BytesIn              uint64 // yamux bytes read from clients, ever; what goes out is the same but for control frames
	Reasons              [numReasons]uint64
}

// Count returns how often something was refused, ended or reset for that reason.
func (s *Snapshot) Count(why Reason) uint64 {
	if why < numReasons {
		return s.Reasons[why]
	}
	return 0
}

// Reasons calls f for each reason there is.
func Reasons(f func(Reason)) {
	for r := ReasonNone + 1; r < numReasons; r++ {
		f(r)
	}
}

// Snapshot returns the relay's counters. Safe for concurrent use.
func (srv *Server) Snapshot() Snapshot {
	var out Snapshot
	srv.mu.RLock()
	out.Sessions = len(srv.sessions)
	srv.mu.RUnlock()
	out.Handshakes = srv.gate.handshaking()
	out.Admitted = srv.stats.admits.Load()
	out.Dials = srv.stats.dials.Load()
	out.Streams = srv.stats.streams.Load()
	out.BytesIn = srv.stats.bytesIn.Load()
	for i := range out.Reasons {
		out.Reasons[i] = srv.stats.reasons[i].Load()
	}
	return out
}
