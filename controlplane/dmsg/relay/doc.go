// Package relay is the server of dmsg: it takes sessions from clients and joins
// their streams, so that any key reaches any other.
//
// It is a switch for yamux frames, not a yamux endpoint. Once a stream is set up,
// frames go from one session to the other with a new stream id in their header and
// nothing else changed: credit passes through from end to end, so the relay buffers
// nothing for a stream, and a run of frames for one session leaves in one write.
//
//	dialer's session            circuit                 listener's session
//	stream 7 (odd)     ◄── ends[0]   ends[1] ──►        stream 4 (even)
//	  read a batch ── parse: check, rewrite ids ──► write it in one go
//
// The parts:
//
//   - session.go, read.go, parse.go: one goroutine for each session reads batches,
//     holds no buffer while it waits, and checks every frame before it passes it on.
//   - outbox.go, drain.go, credit.go: what the receiver does not take at once waits
//     in a bounded queue; who fills it is held back, then cut off.
//   - circuit.go, setup.go, work.go: a stream from its request to its end.
//   - server.go, admit.go, tick.go: who may connect, and time-outs of all kinds.
//
// Locks, in the order in which they are taken: session.mu (a session's streams),
// circuit.mu (a stream's set-up), outbox.mu (a session's queue). Nobody waits for
// the network with one of them held.
//
// A peer that breaks the protocol loses its own session, with a [Reason] that is
// counted; a stream that cannot be set up or goes wrong loses just itself.
package relay
