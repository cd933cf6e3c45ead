// Package packet holds what all floors of the data plane share about bytes in
// flight: the frame and route packet formats of docs/wire.md, and the pools
// that their memory comes from.
//
// Nothing here touches a socket, a key or a clock. Parsers check lengths,
// versions, flags and reserved bytes, never panic, and never allocate.
package packet
