// Package noise holds the cryptography of links and sessions, without sockets,
// timers or goroutines: whoever uses it moves the bytes and passes the clock in.
//
//   - [Handshake] runs the Noise patterns IK, KK and XK (github.com/flynn/noise
//     underneath) and gives out the transport keys.
//   - [SendKey], [RecvKey], [Counter] and [Window] are the data phase: explicit
//     counters, sealed in place, nothing allocated per packet.
//   - [Ring] says which keys are in use: rekeying, confirmation, expiry.
//   - [CookieChecker] and [CookieJar] keep floods of forged handshakes cheap.
//   - [Clock] and [ReplayGuard] keep old handshakes from counting as new ones.
//   - [AppendTLV] and [WalkTLVs] write and read handshake payloads.
//
// Times are a [time.Duration] on a monotonic clock whose start is the caller's
// choice and the same for all calls; [Clock] alone deals in wall time.
package noise
