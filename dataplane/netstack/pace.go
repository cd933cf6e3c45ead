package netstack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

const (
	// farRTT is the round trip from which on a stream is paced. Below it few packets are
	// under way, what was lost is repaired in a blink, and timers are too coarse.
	farRTT = 20 * time.Millisecond

	// trains is in how many parts a round trip is cut to find the rate of the bottleneck.
	trains = 8
	// paceRounds is for how many round trips a rate is remembered.
	paceRounds = 10
	// headroom is how much more than the path holds without a queue may be under way:
	// enough to outlast a late wake-up, and to find more rate where there is more.
	headroom = 1.25
	// spread is how much faster than the bottleneck a stream writes. It is for the end of
	// a repair, which frees all of the buffer at once. Near 1 it would even out the trains
	// by which the rate is found.
	spread = 3
	// stretched is by how much more than headroom a round trip must be longer than the
	// shortest, on the average of paceRounds, before the path is believed to have become longer.
	stretched = 1.5
	// checksPerRTT is how often a blocked writer looks for space. gVisor wakes it when
	// half of the buffer is free, which would send half a round trip in one burst.
	checksPerRTT = 32
	// lookAgain is when a writer on a near path looks by itself. gVisor notifies once,
	// when what is queued falls below half of the buffer; where it computes the half of a
	// smaller buffer in the moment of that, after a cut of the window, it never does.
	lookAgain = 100 * time.Millisecond
)

// A pacer keeps the data of a far stream from overrunning the queue of its bottleneck.
// gVisor repairs a few losses well; but for every acknowledgement it walks all that is
// under way and it remembers a hundred gaps, so the thousands of losses at the end of an
// ordinary slow start cost it minutes.
//
// It watches the acknowledgements. Their rate within a small part of a round trip is that
// of the bottleneck even while the window is too small to use all of it (a packet train,
// as in HyStart), and rate × shortest round trip is what the path holds (as in BBR). The
// limit is set through the send buffer, the pace by waiting before a write. A rate that is
// seen too high loses the benefit and no more: the congestion window rules on.
//
// It belongs to the goroutine that holds the stream's write lock.
type pacer struct {
	base  time.Duration // round trip without a queue; 0 before the first step
	path  time.Duration // that of the slowest path, where the stream is spread over several
	least time.Duration // shortest srtt so far
	next  time.Time     // when the next write may leave

	peaks [paceRounds]float64 // highest rate of a train in each of the last rounds, bytes/s
	round int                 // the present one
	train int                 // the present one of the round
	begun point               // begin of the train

	first    point  // where the look at the round trip began, see stretch
	limited  int    // rounds since first, in all of which the limit held the stream back
	shrunkAt uint64 // bytes written when the limit last fell
}

// A point is how many bytes were acknowledged when.
type point struct {
	at    time.Time
	acked uint64
}

// rateTo returns the rate from p to q in bytes per second.
func (p point) rateTo(q point) float64 {
	return float64(q.acked-p.acked) / q.at.Sub(p.at).Seconds()
}

// step looks on while the writer is blocked by a full buffer of size bytes, after written
// bytes in all, and returns what size the buffer should have. window is the congestion
// window in bytes, srtt what TCP says of the round trip, steady whether it is not
// repairing losses just now.
func (p *pacer) step(now time.Time, written uint64, size, window int, srtt time.Duration, steady bool) int {
	if p.least == 0 || srtt < p.least {
		p.base, p.least = srtt, srtt
	}
	switch {
	case !steady:
		// The end of a repair acknowledges at once what had arrived long before.
		p.restart(point{})
	case written > p.shrunkAt:
		// A full buffer tells how much has left it.
		p.observe(point{now, written - uint64(size)}, size)
	}
	// Twice the window, as gVisor would have it: what is acknowledged is followed at once
	// by what waits, so trains stay trains.
	want := 2 * window
	if hold := p.hold(); hold > 0 {
		want = min(want, int(headroom*hold))
	}
	want = max(want, firstBuffer)
	if want < size {
		p.shrunkAt = written
	}
	return want
}

// restart begins a train at q, or with the next observation if q is zero.
func (p *pacer) restart(q point) {
	p.begun, p.first, p.train, p.limited = q, q, 0, 0
}

// observe takes the state at q, with size bytes in the buffer.
func (p *pacer) observe(q point, size int) {
	if p.begun.at.IsZero() || q.acked < p.begun.acked {
		p.restart(q)
		return
	}
	if q.at.Sub(p.begun.at) < p.base/trains {
		return
	}
	p.peaks[p.round] = max(p.peaks[p.round], p.begun.rateTo(q))
	p.begun = q
	if p.train++; p.train == trains {
		p.train = 0
		p.stretch(q, size)
		p.round = (p.round + 1) % paceRounds
		p.peaks[p.round] = 0
	}
}

// stretch follows a path that has become longer, where the limit would go on to be that
// of the short one: size bytes that leave at rate bytes/s stay for size/rate. Called at q,
// the end of a round; the rate is that of many rounds, trains and gaps together.
func (p *pacer) stretch(q point, size int) {
	if size <= firstBuffer || float64(size) < 0.99*headroom*p.hold() {
		p.first, p.limited = q, 0
		return
	}
	if p.limited++; p.limited < paceRounds {
		return
	}
	stay := float64(size) / p.first.rateTo(q)
	if stay >= stretched*headroom*p.base.Seconds() {
		p.base = time.Duration(min(stay/headroom, maxRTO.Seconds()) * float64(time.Second))
	}
	p.first, p.limited = q, 0
}

// hold returns what the path holds without a queue, in bytes, 0 if it is not known.
func (p *pacer) hold() float64 { return p.peak() * max(p.base, p.path).Seconds() }

// peak returns the rate of the bottleneck in bytes/s, 0 if it is not known.
func (p *pacer) peak() float64 {
	highest := 0.0
	for _, r := range p.peaks {
		highest = max(highest, r)
	}
	return highest
}

// reserve returns how long a write of n bytes has to wait at now. It lets through what
// leaves within one of a blocked writer's checks, so that a fast stream does not set a
// timer for each write.
func (p *pacer) reserve(now time.Time, n int) time.Duration {
	rate := spread * p.peak()
	if rate == 0 {
		return 0
	}
	check := p.check()
	if p.next.Before(now.Add(-check)) {
		p.next = now.Add(-check)
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	if wait < check {
		return 0
	}
	return wait
}

// check returns how long a blocked writer waits before it looks again.
func (p *pacer) check() time.Duration { return max(p.base/checksPerRTT, time.Millisecond) }

// far reports whether the stream is paced. Once it is it stays so: gVisor's own tuning of
// its send buffer has ended. Callers hold c.wr.mu.
func (c *Conn) far() bool {
	return max(time.Duration(c.floor.Load()), c.path()) >= farRTT || c.wr.pace.base > 0
}

// notice notes a round trip that TCP has measured, if it has.
func (c *Conn) notice(rtt time.Duration) {
	if floor := c.floor.Load(); rtt > 0 && (floor == 0 || int64(rtt) < floor) {
		c.floor.Store(int64(rtt))
	}
}

// greet notes the round trip of the handshake.
func (c *Conn) greet() {
	var info tcpip.TCPInfoOption
	if err := c.ep.GetSockOpt(&info); err == nil {
		c.notice(info.RTT)
	}
	c.noticeSpread()
}

// awaitTurn waits until n bytes may be written at the stream's pace. Callers hold c.wr.mu.
func (c *Conn) awaitTurn(n int) error {
	wait := c.wr.pace.reserve(time.Now(), n)
	for until := time.Now().Add(wait); wait > 0; wait = time.Until(until) {
		if err := c.over(&c.wr.side); err != nil {
			return err
		}
		c.wr.wait(wait)
	}
	return nil
}

// awaitSpace waits until there may be space in the send buffer. Callers hold c.wr.mu.
func (c *Conn) awaitSpace() {
	var info tcpip.TCPInfoOption
	if !c.far() || c.ep.GetSockOpt(&info) != nil || info.RTT == 0 {
		c.wr.wait(lookAgain)
		return
	}
	so := c.ep.SocketOptions()
	size := int(so.GetSendBufferSize())
	c.goOn(&info)
	c.wr.pace.path = c.path()
	want := c.wr.pace.step(time.Now(), c.sent.Load(), size, max(int(int32(info.SndCwnd)), 0)*mss, info.RTT, info.CcState == tcpip.Open)
	if want = min(want, c.stack.budget.bufferLimit()); want != size {
		so.SetSendBufferSize(int64(want), true) // with notification: ends gVisor's own tuning
	}
	c.wr.wait(c.wr.pace.check())
}
