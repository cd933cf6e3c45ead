// Package proto holds what dmsg parties send each other above and below yamux,
// without sockets of its own, timers or goroutines: the shapes, their bytes, and
// the cryptography around them. The deployed network speaks the same bytes.
//
//   - [Identity] owns a secret key and does everything that needs one.
//   - [Session] is the hop between a client and a relay: an XK handshake, then
//     sealed objects on any of its yamux streams.
//   - [Request] and [Response] set a stream up. They are [Signed] by the client at
//     either end and cross the relay unchanged.
//   - [Initiator], [SendStream] and [RecvStream] are a stream from end to end: a KK
//     handshake inside request and response, then frames that no relay can read.
//   - [Code] is the protocol's set of errors, [Replay] tells old requests from new.
//
// The bytes of a stream, as a relay sees them on a client's yamux stream:
//
//	dialer   | object: u16 length, u64 counter, sealed Signed request  | frames …
//	listener | object: u16 length, u64 counter, sealed Signed response | frames …
//	frame    | u16 length, u64 counter, sealed 0 to 4070 bytes         |
//
// Integers are big-endian. A length counts what follows it.
package proto
