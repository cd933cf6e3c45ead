// Package link keeps encrypted pipes to neighbours: each link proves the key of
// the visor at its other end and carries route packets (docs/wire.md sections
// 2 to 4) over UDP (SUDPH) or over a byte stream (STCPR over TCP, or a dmsg stream).
//
// An [Engine] owns the sockets, one packet worker per UDP socket, and all links.
// Ownership is for receiving: the low bits of a receiver index name the worker,
// and that worker alone opens packets of the link. Anyone may send: a [Tx] is one
// sender's scratch, it reserves numbers, seals in place and writes to the socket
// itself. Stream links have one reader and one writer goroutine each; senders
// queue to the writer.
//
// What the packets mean is not known here. They go up in bursts to the [Handler],
// which is the forwarding engine; only label 0, the link's own control, stays.
//
// Handshakes run on a goroutine of their own: one elliptic-curve multiplication
// takes as long as hundreds of packets.
package link
