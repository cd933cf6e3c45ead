package forward

import "sync/atomic"

// meterDepth is how far a burst may run ahead of the rate, in ns: a 64 KiB
// superpacket at 10 Mbit/s lasts 52 ms and should pass.
const meterDepth = 100e6

// A meter is a token bucket that workers share without a lock: the virtual time at
// which everything admitted so far would have been sent at the wanted rate (the
// generic cell rate algorithm, ITU-T I.371 annex A). The zero value admits all.
type meter struct {
	psPerByte int64        // picoseconds
	until     atomic.Int64 // ns
}

func (m *meter) setMbps(mbps int) {
	if mbps > 0 {
		m.psPerByte = 8e6 / int64(mbps)
	}
}

// admit reports whether n bytes may pass at now, and if so counts them. One
// admission may overshoot, so that a run is never cut.
func (m *meter) admit(now int64, n int) bool {
	if m.psPerByte == 0 {
		return true
	}
	for {
		old := m.until.Load()
		start := max(old, now)
		if start-now > meterDepth {
			return false
		}
		if m.until.CompareAndSwap(old, start+int64(n)*m.psPerByte/1000) {
			return true
		}
	}
}
