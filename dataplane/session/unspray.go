package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// holdMargin is how much longer than the difference of the routes' round trips an
	// early packet may wait: for queues on the way and late wake-ups.
	holdMargin = 30 * time.Millisecond
	holdMost   = 500 * time.Millisecond

	// A report goes out after reportMany packets and reportSoon, or after reportLate.
	reportMany = 16
	reportSoon = 4 * time.Millisecond
	reportLate = 10 * time.Millisecond
)

// An unspray is the receiving half of a mux session. Every session has one: whether the
// peer spreads what it sends is the peer's choice.
type unspray struct {
	hold atomic.Int64 // ns that an early packet may wait
	live atomic.Int32 // routes that may bring packets

	closed atomic.Bool

	mu    sync.Mutex // after route.recvMu; held while the floor above takes packets
	order resequencer
	timer *time.Timer // delivers what waits for what will not come

	tailArmed atomic.Bool // the timer is set
	tailMu    sync.Mutex  // after route.recvMu
	tail      *time.Timer // sends the reports that no further packet brings about
}

// A muxCount is what a route has brought of a mux session. It is guarded by
// route.recvMu.
type muxCount struct {
	packets, bytes uint64
	seq            uint32        // the latest number
	at             time.Duration // when that came
	told           time.Duration // the last report
	since          int           // packets since then
}

// follow learns from the routes how long packets may wait for each other. Session.mu is
// held.
func (u *unspray) follow(routes []*route) {
	live := 0
	var least, most time.Duration
	for _, r := range routes {
		if !r.usable {
			continue
		}
		if live == 0 || r.health.rtt < least {
			least = r.health.rtt
		}
		most = max(most, r.health.rtt)
		live++
	}
	u.live.Store(int32(live))
	u.hold.Store(int64(min(most-least+holdMargin, holdMost)))
}

// mux takes a payload of packet.ProtoMux.
func (d *delivery) mux(payload []byte) {
	seq, inner, ok := parseMux(payload)
	if !ok || inner[0] != packet.ProtoTCP {
		d.drop(DropMalformed)
		return
	}
	c, now := &d.r.muxIn, ns(d.b.Now)
	if c.packets == 0 || int32(seq-c.seq) > 0 || c.since == 0 && now-c.at > time.Second {
		c.seq, c.at = seq, now
	}
	c.packets++
	c.bytes += uint64(len(payload))
	c.since++
	if d.muxN == len(d.sc.muxSeq) {
		d.flushMux()
	}
	d.sc.muxSeq[d.muxN], d.sc.muxInner[d.muxN] = seq, inner[1:]
	d.muxN++
}

// flushMux passes on what has been gathered, and what that makes due. The plain payloads
// have been flushed: it uses their place.
func (d *delivery) flushMux() {
	if d.muxN == 0 {
		return
	}
	d.flush()
	now := ns(d.b.Now)
	s := d.r.s
	u := &s.unspray
	u.mu.Lock()
	defer u.unlock()
	o := outlet{s: s, to: &d.sc.payloads}
	u.prepare(s)
	for i := range d.muxN {
		if u.order.add(now, d.r.n, d.sc.muxSeq[i], d.sc.muxInner[i]) {
			o.put(d.sc.muxInner[i])
		}
		u.drain(&o, now)
	}
	d.muxN = 0
	o.flush()
	u.settle(s, now)
}

// An outlet gathers payloads for the floor above.
type outlet struct {
	s  *Session
	to *[link.MaxBurst][]byte
	n  int
}

func (o *outlet) put(payload []byte) {
	if o.n == len(o.to) {
		o.flush()
	}
	o.to[o.n] = payload
	o.n++
}

func (o *outlet) flush() {
	if o.n > 0 {
		o.s.m.upper.Deliver(o.s, packet.ProtoTCP, o.to[:o.n])
		o.n = 0
	}
}

// prepare brings the resequencer up to date. mu is held.
func (u *unspray) prepare(s *Session) {
	u.order.budget = &s.m.resequencing
	u.order.hold, u.order.live = ns(u.hold.Load()), int(u.live.Load())
}

// drain takes out what is due. mu is held.
func (u *unspray) drain(o *outlet, now time.Duration) {
	if u.order.count == 0 && !u.order.jumping {
		return
	}
	for p, ok := u.order.next(now); ok; p, ok = u.order.next(now) {
		o.put(p)
	}
}

// settle frees what has been delivered and sets the timer for what still waits. mu is
// held.
func (u *unspray) settle(s *Session, now time.Duration) {
	u.order.free()
	at, ok := u.order.deadline()
	if !ok || u.closed.Load() {
		return
	}
	wait := max(at-now, time.Millisecond)
	if u.timer == nil {
		u.timer = time.AfterFunc(wait, s.overdue)
	} else {
		u.timer.Reset(wait)
	}
}

// overdue delivers what has waited for long enough.
func (s *Session) overdue() {
	u := &s.unspray
	u.mu.Lock()
	defer u.unlock()
	if u.closed.Load() {
		return
	}
	sc := s.m.scratch.get()
	now := ns(s.m.links.Now())
	o := outlet{s: s, to: &sc.payloads}
	u.prepare(s)
	u.drain(&o, now)
	o.flush()
	u.settle(s, now)
	s.m.scratch.put(sc)
}

// unlock releases mu, and what is held if the session has ended meanwhile.
func (u *unspray) unlock() {
	u.mu.Unlock()
	if u.closed.Load() {
		u.clear()
	}
}

// clear lets go of what is held, unless somebody holds mu, who will.
func (u *unspray) clear() {
	if !u.mu.TryLock() {
		return
	}
	u.order.close()
	if u.timer != nil {
		u.timer.Stop()
	}
	u.mu.Unlock()
}

// close ends the receiving. It does not wait for packets that are being delivered: the
// floor above may be waiting for a lock of the caller's.
func (u *unspray) close() {
	u.closed.Store(true)
	u.clear()
}

// muxReports sends a report if one is due, or has one sent soon. The delivery's route is
// locked.
func (d *delivery) muxReports() {
	c := &d.r.muxIn
	if c.since == 0 {
		return
	}
	if ago := ns(d.b.Now) - c.told; ago >= reportSoon && c.since >= reportMany || ago >= reportLate {
		d.r.sendMuxReport(d.b.Tx, d.sc, ns(d.b.Now))
		return
	}
	u := &d.r.s.unspray
	if u.tailArmed.CompareAndSwap(false, true) {
		u.tailMu.Lock()
		defer u.tailMu.Unlock()
		if u.tail == nil {
			u.tail = time.AfterFunc(reportLate, d.r.s.tailReports)
		} else {
			u.tail.Reset(reportLate)
		}
	}
}

// tailReports sends the reports that are still owed.
func (s *Session) tailReports() {
	u := &s.unspray
	u.tailArmed.Store(false)
	if u.closed.Load() {
		return
	}
	var due [reseqRoutes]*route
	n := 0
	s.mu.Lock()
	for _, r := range s.routes {
		if n < len(due) {
			due[n] = r
			n++
		}
	}
	s.mu.Unlock()
	s.m.send(func(tx *link.Tx, sc *scratch) {
		for _, r := range due[:n] {
			r.recvMu.Lock()
			if r.muxIn.since > 0 {
				r.sendMuxReport(tx, sc, ns(s.m.links.Now()))
			}
			r.recvMu.Unlock()
		}
	})
}

// sendMuxReport tells the peer how far r has come. recvMu is held.
func (r *route) sendMuxReport(tx *link.Tx, sc *scratch, now time.Duration) {
	c := &r.muxIn
	c.told, c.since = now, 0
	l := r.link()
	if l == nil {
		return
	}
	e, ok := r.encoder(tx, l, sc)
	if !ok || e.reserve(1) != nil {
		return
	}
	rep := muxReport{seq: c.seq, held: now - c.at, at: c.at + r.s.origin, packets: c.packets, bytes: c.bytes}
	rep.put(e.begin(muxReportLen))
	e.end(packet.KindData)
	r.tx.Add(1)
	r.txBytes.Add(uint64(muxReportLen + e.overhead()))
	_ = tx.Flush() // the next one says it all again
}

// muxReport takes what the peer says of one of our routes.
func (d *delivery) muxReport(payload []byte) {
	rep, ok := parseMuxReport(payload)
	if !ok {
		d.drop(DropMalformed)
		return
	}
	if y := d.r.s.spray.Load(); y != nil {
		y.report(d.r, rep, ns(d.b.Now))
	}
}
