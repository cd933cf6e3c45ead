package session

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// sprayLinger is how long a session with one good route left goes on as a mux
	// session: another may be about to come back.
	sprayLinger = 3 * time.Second
	// queueTime is how much may wait before the pacers, at the rate of all lanes.
	queueTime  = 250 * time.Millisecond
	queueLeast = 512 << 10
	queueMost  = 8 << 20
	// skewMost bounds what a peer's clock may make of the difference of two routes.
	skewMost = time.Second
	// sprayTurns is how many sends are made at once; others may want the lock.
	sprayTurns = 16
	// queueIdle is after how long without traffic the queue's memory goes.
	queueIdle = 10 * time.Second
)

// A spray is the sending half of a mux session: it cuts what TCP hands down into
// numbered packets and gives each to the route that should deliver it first, at the pace
// of that route. What all routes together cannot take at once waits in a queue with
// CoDel, so that TCP sees one path with their rates added up and the round trip of the
// slowest.
//
// Senders pump the queue themselves, and a timer does while they are silent; the mutex is
// held for the sealing of what may leave at once, which is at most slackMost long.
type spray struct {
	s *Session

	mu     sync.Mutex // after Session.mu and route.recvMu
	active bool       // else packets take the ordinary way
	closed bool
	lanes  lanes
	queue  muxQueue
	seq    uint32 // of the next packet
	target time.Duration
	limit  int           // bytes in the queue
	many   time.Duration // when there was more than one usable lane
	used   time.Duration // when something was last sent
	timer  *time.Timer   // pumps
	armed  time.Duration // when it will; 0: it will not
}

func newSpray(s *Session) *spray {
	return &spray{s: s, seq: uint32(randomUint64())}
}

// sendTCP takes a segment with data. done is false if it is to take the ordinary way.
func (y *spray) sendTCP(hdr []byte, payload [][]byte, total int) (done bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.active {
		return false
	}
	now := ns(y.s.m.links.Now())
	y.used = now
	if !y.queue.push(now, hdr, payload, total, y.limit) {
		y.s.m.drops.add(DropQueueFull)
		return true
	}
	y.pump(now)
	return true
}

// quickest returns the route for what should not wait, such as an acknowledgement; nil
// if the ordinary way will do.
func (y *spray) quickest() *route {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.active {
		return nil
	}
	now := ns(y.s.m.links.Now())
	var best *lane
	for _, l := range y.lanes {
		if l.usable && now >= l.benched && !l.silent(now) && (best == nil || l.late < best.late) {
			best = l
		}
	}
	if best == nil {
		return nil
	}
	best.charge(now, packet.RouteAlign)
	return best.r
}

// pump sends what may leave at now and sets the timer for the rest. mu is held.
func (y *spray) pump(now time.Duration) {
	seg := y.queue.first()
	if seg == nil {
		y.lanes.empty(now)
		return
	}
	l, wait := y.lanes.pick(now, y.queue.bytes)
	if l != nil {
		y.s.m.send(func(tx *link.Tx, sc *scratch) {
			for turns := 0; l != nil; l, wait = y.lanes.pick(now, y.queue.bytes) {
				if turns++; turns > sprayTurns {
					wait = 0
					break
				}
				if y.queue.shed(now, y.target, packet.MinMTU) {
					y.s.m.drops.add(DropQueueLong)
				} else {
					y.send(tx, sc, l, now)
				}
				if y.queue.first() == nil {
					y.lanes.empty(now)
					wait = never
					break
				}
			}
		})
	}
	if wait != never {
		y.arm(now, wait)
	}
}

// arm has the timer pump in wait. mu is held.
func (y *spray) arm(now, wait time.Duration) {
	if at := now + wait; y.armed == 0 || y.armed <= now || at < y.armed {
		y.armed = at
		if y.timer == nil {
			y.timer = time.AfterFunc(wait, y.fire)
		} else {
			y.timer.Reset(wait)
		}
	}
}

func (y *spray) fire() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.armed = 0
	if !y.closed {
		y.pump(ns(y.s.m.links.Now()))
	}
}

// send gives the next packets of the first segment to l: as many as l sends at once.
// mu is held.
func (y *spray) send(tx *link.Tx, sc *scratch, l *lane, now time.Duration) {
	r, seg := l.r, y.queue.first()
	lk := r.link()
	if lk == nil {
		l.lose(now)
		return
	}
	e, ok := r.encoder(tx, lk, sc)
	if !ok {
		l.lose(now)
		return
	}
	quantum, hdrN := l.quantum(), seg.hdrN
	head := muxHeaderLen + 1 + hdrN
	most := min(e.room(r.packetMTU(lk)), max(quantum, packet.MinMTU-sealOverhead-packet.RouteHeaderLen)) - head
	left := seg.total - seg.done
	n := min(max(1, quantum/most), (left+most-1)/most)
	if e.reserve(n) != nil {
		l.lose(now)
		return
	}
	first, bytes := y.seq, 0
	for range n {
		at, size := seg.done, min(most, seg.total-seg.done)
		p := e.begin(head + size)
		p[0] = packet.ProtoMux
		binary.BigEndian.PutUint32(p[1:], y.seq)
		p[muxHeaderLen] = packet.ProtoTCP
		th := p[muxHeaderLen+1 : head]
		copy(th, seg.hdr[:hdrN])
		binary.BigEndian.PutUint32(th[tcpSeq:], binary.BigEndian.Uint32(th[tcpSeq:])+uint32(at))
		if at+size < seg.total {
			th[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if at > 0 {
			th[tcpFlags] &^= tcpCWR
		}
		y.queue.read(p[head:])
		e.end(packet.KindData)
		y.seq++
		bytes += len(p)
	}
	r.tx.Add(uint64(n))
	r.txBytes.Add(uint64(bytes + n*e.overhead()))
	l.sent(now, first, n, bytes)
	if tx.Flush() != nil {
		y.s.m.drops.add(DropSend)
	}
}

// report takes what the peer says of r.
func (y *spray) report(r *route, rep muxReport, now time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, l := range y.lanes {
		if l.r == r && l.report(now, rep) {
			y.lanes.measure(now)
			y.retarget(now)
			y.pump(now)
			return
		}
	}
}

// retarget follows the lanes with what may wait, and for how long. mu is held.
func (y *spray) retarget(now time.Duration) {
	skew, trip := y.lanes.skew(now)
	skew = min(skew, skewMost)
	y.target = skew + max(trip/2, 4*queueTarget)
	rate := y.lanes.rate(now)
	y.limit = int(min(max(rate*(queueTime+skew).Seconds(), queueLeast), queueMost))
	if !y.active {
		trip, rate = 0, 0
	}
	y.s.trip.Store(int64(trip))
	y.s.rate.Store(uint64(rate))
}

// update follows the session's routes. Session.mu is held.
func (y *spray) update(now time.Duration, routes []*route) {
	y.mu.Lock()
	defer y.mu.Unlock()
	least := StateSuspect // which will do where nothing is better
	for _, r := range routes {
		if r.usable && r.health.state == StateUp {
			least = StateUp
		}
	}
	usable := 0
	for _, r := range routes {
		l := y.lane(r)
		if l == nil {
			l = &lane{r: r}
			l.start(now, r.health.rtt)
			y.lanes = append(y.lanes, l)
		}
		if r.usable && (r.health.state == StateUp || r.health.state == least) {
			usable++
			l.back(now, r.health.rtt)
		} else {
			l.lose(now)
		}
		replies := r.replies.Load()
		if l.usable && replies != l.replies && l.silent(now) {
			l.revive(now)
		}
		l.replies = replies
	}
	kept := y.lanes[:0]
	for _, l := range y.lanes {
		if !l.r.gone {
			kept = append(kept, l)
		}
	}
	clear(y.lanes[len(kept):])
	y.lanes = kept
	if usable > 1 {
		y.many = now
	}
	y.active = !y.closed && (usable > 1 || y.many > 0 && (now-y.many < sprayLinger || usable == 1 && y.queue.bytes > 0))
	if !y.active || y.queue.bytes == 0 && now-y.used > queueIdle {
		y.queue = muxQueue{} // nothing of it, or nothing that could go anywhere
	}
	y.lanes.measure(now)
	y.lanes.judge(now)
	y.retarget(now)
	y.pump(now)
}

func (y *spray) lane(r *route) *lane {
	for _, l := range y.lanes {
		if l.r == r {
			return l
		}
	}
	return nil
}

// close ends the spraying: what waits is lost, and the next packets take the ordinary
// way.
func (y *spray) close() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.closed, y.active = true, false
	y.queue, y.lanes = muxQueue{}, nil
	if y.timer != nil {
		y.timer.Stop()
	}
	y.s.trip.Store(0)
	y.s.rate.Store(0)
}

// respray begins or ends the spraying, or follows the routes. Session.mu is held.
func (s *Session) respray() {
	y := s.spray.Load()
	switch {
	case s.mux && !s.closed:
		if y == nil {
			y = newSpray(s)
			s.spray.Store(y)
		}
		y.update(ns(s.m.links.Now()), s.routes)
	case y != nil:
		s.spray.Store(nil)
		y.close()
	}
	s.unspray.follow(s.routes)
}

// Spread returns the round trip of the slowest route that streams are spread over, and the
// rate of all of them in bytes per second; 0 if they are not. A stream has to have so much
// under way to use all routes.
func (s *Session) Spread() (rtt time.Duration, rate float64) {
	return ns(s.trip.Load()), float64(s.rate.Load())
}
