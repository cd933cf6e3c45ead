// Package netstack gives a visor streams and datagrams that are dialled as
// <pk>:<port>. TCP runs in gVisor's netstack, in user space; datagrams need
// neither congestion control nor fragments and are delivered here without it.
//
// There is no IP on the wire. The floor below hands over TCP segments, and the
// peer that a session has proved; this package puts an IPv6 header with that
// peer's overlay address in front, so no packet can name a source of its own.
// Outwards the header is taken off again. The header lives inside one process.
//
// Speed comes from segments of up to 64 KiB in both directions: gVisor emits
// super-segments as if the network card would cut them (host GSO), the session
// cuts them to the route's MTU, and what arrives in one burst is put together
// again (see coalescer) before it enters the stack. Checksums are off: every
// packet is sealed.
//
// To far peers a stream has no more under way than its path holds (see pacer).
//
// A [Stack] and everything it returns may be used by many goroutines at once.
package netstack
