package topo

import (
	"fmt"
	"time"
)

// MTU is the size in bytes of the largest IP packet on every wire.
const MTU = 1500

// A Wire says how a user-space link treats packets, each way alike.
type Wire struct {
	Delay time.Duration // one way, on top of queueing
	Rate  uint64        // bits of IP packets per second; 0: as fast as it goes
	// Queue is how many bytes may wait for the rate before more are dropped; 0
	// means one bandwidth-delay product of the round trip, at least 64 KiB.
	Queue int
}

const (
	maxWireDelay = 10 * time.Second
	minWireQueue = 64 << 10
	// minWirePackets is the room for packets under way: 24 MiB each way.
	minWirePackets = 16 << 10
	maxWirePackets = 512 << 10
)

// Validate returns what is wrong with w.
func (w Wire) Validate() error {
	switch {
	case w.Delay < 0 || w.Delay > maxWireDelay:
		return fmt.Errorf("topo: wire delay %v is not in 0..%v", w.Delay, maxWireDelay)
	case w.Rate > 100e9:
		return fmt.Errorf("topo: wire rate %d bit/s is above 100 Gbit/s", w.Rate)
	case w.Queue < 0:
		return fmt.Errorf("topo: wire queue of %d bytes", w.Queue)
	}
	return nil
}

// queueBytes returns Queue or its default.
func (w Wire) queueBytes() int {
	if w.Queue > 0 {
		return w.Queue
	}
	return max(minWireQueue, int(float64(w.Rate)/8*(2*w.Delay).Seconds()))
}

// packets returns how many packets may be queued and under way in one direction.
// It bounds the memory: MTU bytes each, allocated as they come to be needed.
func (w Wire) packets() int {
	if w.Rate == 0 {
		return minWirePackets
	}
	bytes := w.queueBytes() + int(float64(w.Rate)/8*w.Delay.Seconds())
	return min(max(minWirePackets, 4*bytes/MTU), maxWirePackets)
}

// A pacer is the bottleneck of one direction: it says when a packet that arrives
// now comes out at the far end. It knows no clock.
type pacer struct {
	wire Wire
	free time.Time // when the packets admitted so far have left the bottleneck
}

// admit returns when a packet of n bytes that arrives at now is due at the far
// end, and false if the queue has no room for it. now never goes back.
func (p *pacer) admit(now time.Time, n int) (due time.Time, ok bool) {
	if p.wire.Rate == 0 {
		return now.Add(p.wire.Delay), true
	}
	if p.free.Before(now) {
		p.free = now
	}
	perByte := 8 * float64(time.Second) / float64(p.wire.Rate)
	if waiting := float64(p.free.Sub(now)) / perByte; int(waiting)+n > p.wire.queueBytes() {
		return time.Time{}, false
	}
	p.free = p.free.Add(time.Duration(perByte * float64(n)))
	return p.free.Add(p.wire.Delay), true
}
