// Package udpio moves UDP datagrams between the kernel and the data plane in
// batches.
//
// Words used here, always in this sense:
//
//   - a datagram is what the peer sees: one UDP payload;
//   - a superpacket is a run of datagrams that lie one behind the other in
//     memory, all of the same size but the last, and share one address;
//   - a batch is what one system call moves: several superpackets.
//
// On Linux a batch is one recvmmsg(2) or sendmmsg(2), and the kernel builds and
// takes apart the superpackets (UDP_GRO, Linux 5.0; UDP_SEGMENT, Linux 4.18).
// Elsewhere, or with [Config.Portable], each datagram is one call into package
// net; both pass the same conformance tests.
//
// A [Group] is one address with one socket per worker behind it. With
// [Config.Steer] the kernel picks the socket from the receiver index inside the
// datagram, so that a link's packets always reach the worker that owns it,
// whatever address they come from.
//
// The package knows nothing of what it carries but the two facts that steering
// needs (see [Owner]). It keeps no peers, no queues beyond a batch, no clock,
// and starts no goroutine.
package udpio
