// Package dmsg is the client of the relay network in which any key reaches any
// other: sessions to several relays, the own entry in the discovery, and streams
// that are dialled and accepted by key and port.
//
//   - Client keeps sessions to relays, moves to others when one fails, and keeps its
//     discovery entry true.
//   - Client.Dial and Client.Listen make Streams, which are net.Conns: sealed from end
//     to end, so that a relay sees sizes, timing and both keys, and no content.
//   - Events and Sessions say what the client does, for daemons that tell their user.
//
// What goes over the wire is package proto, multiplexed by package yamux; entries and
// the HTTP client of the discovery are package disc. The relay is package relay.
//
// The end of a stream is not authenticated: the protocol has no marker for it, so a
// relay can cut a stream between two frames unnoticed. What runs on top should know
// its own length, as HTTP does.
package dmsg
