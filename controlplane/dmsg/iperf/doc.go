// Package iperf measures how fast bytes go over a stream, in either direction. It
// has a small protocol of its own that needs no half-close, which deployed relays do
// not preserve:
//
//	client  | "skyiperf" | version u8 = 1 | direction u8 | 0 u16 | milliseconds u32 |
//	server  | status u8 | most milliseconds u32 |
//	sender  | length u32 | bytes | … | length u32 = 0 |
//	server  | bytes u64 | nanoseconds u64 |
//
// Integers are big-endian. The sender is the client where the direction is up, the
// server where it is down. The server's report at the end says what it received, or
// sent, and in which time.
package iperf
