package session

import (
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// Limits of a resequencer: what one peer can make us hold.
const (
	reseqSlots = 4096 // packets, a power of two: 5 MB of ordinary ones
	reseqMost  = 8 << 20
	// reseqAll is what all sessions of a Manager may hold together, in bytes; each may have
	// reseqShare even where others have taken all of it.
	reseqAll   = 64 << 20
	reseqShare = 256 << 10

	// reseqRoutes is how many routes are followed. More still bring packets, but then a
	// missing one is given up by time alone.
	reseqRoutes = 8
	// markLife is how long a route that brings nothing counts among those that say what is
	// lost: it may be gone.
	markLife = 2 * time.Second
	// extraMost bounds what late packets add to the wait; half of it is forgotten in
	// extraFade.
	extraMost = 250 * time.Millisecond
	extraFade = 2 * time.Second
	// reseqOld is how many packets in a row from before the window mean that the peer
	// counts anew.
	reseqOld = 64
)

// A resequencer puts the packets of a mux session back in order as far as a short wait
// does: TCP takes what comes too early for a sign of loss.
//
// A packet that is next is passed at once. An early one is copied and waits until all
// before it have come; or until every route has brought a later one, for a route keeps the
// order of what it carries, so what is still missing is lost; or until hold is over. No
// packet waits for longer than that, however many are missing before it. What comes after
// its turn is passed at once.
//
// The zero value is ready once budget is set. It belongs to one goroutine at a time:
//
//	if q.add(now, route, seq, pkt) {
//		deliver(pkt)
//	}
//	for pkt, ok := q.next(now); ok; pkt, ok = q.next(now) {
//		deliver(pkt)
//	}
//	q.free()
type resequencer struct {
	budget *atomic.Int64 // bytes that all sessions hold
	hold   time.Duration // how long a packet may wait, but for extra
	live   int           // routes that may bring packets

	begun   bool
	seq     uint32 // the number whose turn it is
	jumping bool   // all that waits is due; then it is the turn of jump
	jump    uint32
	old     int // packets in a row from before the window

	slots    []slot    // by number modulo their count; nil until the first packet waits
	arrivals []arrival // a ring in the order of coming: those that wait, and some that no longer do
	head     uint32
	tail     uint32
	count    int    // packets that wait
	held     int64  // bytes of slabs, those of passed included
	passed   []slot // by next, until free

	marks [reseqRoutes]mark
	// extra is for packets that come just after they were given up: it doubles then, once
	// in a hold, and fades.
	extra   time.Duration
	extraAt time.Duration // when it last changed
}

// A slot is a packet that waits, in a slab that is large if the packet is.
type slot struct {
	small *packet.Small
	large *packet.Buf
	n     int
}

func (s slot) used() bool { return s.small != nil || s.large != nil }

func (s slot) bytes() []byte {
	if s.small != nil {
		return s.small.B[:s.n:s.n]
	}
	return s.large.B[:s.n:s.n]
}

func (s slot) size() int64 { return slabSize(s.n) }

func slabSize(n int) int64 {
	if n <= packet.SmallCap {
		return packet.SmallCap
	}
	return packet.BufCap
}

type arrival struct {
	seq uint32
	at  time.Duration
}

// A mark is how far a route has come.
type mark struct {
	route uint64 // its number for people; 0: none
	seq   uint32 // the latest that it brought
	at    time.Duration
}

// add takes packet seq, which route has brought at now, and reports whether it is to be
// delivered at once. If not, it has been copied.
func (q *resequencer) add(now time.Duration, route uint64, seq uint32, pkt []byte) bool {
	if !q.begun {
		q.begun, q.seq = true, seq
	}
	q.mark(now, route, seq)
	ahead := int32(seq - q.seq)
	switch {
	case ahead == 0 && !q.jumping:
		q.seq++
	case ahead < 0:
		q.relax(now)
		if ahead > -reseqSlots {
			q.old = 0
		} else if q.old++; q.old >= reseqOld { // in a moment what waits is due as well
			q.jumping, q.jump = true, seq+1
		}
		return true
	case ahead >= reseqSlots:
		q.jumping, q.jump = true, seq+1
	default:
		q.old = 0
		return q.jumping || !q.keep(now, seq, pkt)
	}
	q.old = 0
	return true
}

// keep copies packet seq. It returns false if there is no room, or if it is there.
func (q *resequencer) keep(now time.Duration, seq uint32, pkt []byte) bool {
	if q.slots == nil {
		q.slots, q.arrivals = make([]slot, reseqSlots), make([]arrival, 2*reseqSlots)
	}
	s, size := &q.slots[seq%reseqSlots], slabSize(len(pkt))
	if s.used() || q.held+size > reseqMost || len(pkt) > packet.BufCap {
		return false
	}
	if q.budget.Add(size) > reseqAll && q.held+size > reseqShare {
		q.budget.Add(-size)
		return false
	}
	s.n = len(pkt)
	if size == packet.SmallCap {
		s.small = packet.GetSmall()
	} else {
		s.large = packet.GetBuf()
	}
	copy(s.bytes(), pkt)
	q.held += size
	q.count++
	if q.tail-q.head == uint32(len(q.arrivals)) {
		q.head++ // the oldest waits as long as the next: cannot happen but by a peer's design
	}
	q.arrivals[q.tail%uint32(len(q.arrivals))] = arrival{seq, now}
	q.tail++
	return true
}

// next returns the next packet whose time has come. It stays valid until free.
func (q *resequencer) next(now time.Duration) ([]byte, bool) {
	for q.count > 0 {
		s := &q.slots[q.seq%reseqSlots]
		if s.used() {
			q.passed = append(q.passed, *s)
			*s = slot{}
			q.seq++
			q.count--
			return q.passed[len(q.passed)-1].bytes(), true
		}
		if !q.jumping && !q.overtaken(now) && !q.overdue(now) {
			return nil, false
		}
		q.seq++ // given up
	}
	q.head = q.tail
	if q.jumping {
		q.seq, q.jumping = q.jump, false
		q.marks = [reseqRoutes]mark{} // of other numbers
	}
	return nil, false
}

// overtaken reports whether every route has brought something later than what is due.
func (q *resequencer) overtaken(now time.Duration) bool {
	n := 0
	for i := range q.marks {
		m := &q.marks[i]
		if m.route == 0 || now-m.at > markLife {
			continue
		}
		if int32(m.seq-q.seq) <= 0 {
			return false
		}
		n++
	}
	return n >= q.live
}

// overdue reports whether some packet behind what is due has waited for long enough.
func (q *resequencer) overdue(now time.Duration) bool {
	a, ok := q.oldest()
	return ok && now-a.at >= q.wait(now)
}

// wait returns how long a packet may wait now.
func (q *resequencer) wait(now time.Duration) time.Duration {
	if q.extra > 0 && now-q.extraAt > extraFade {
		q.extra, q.extraAt = q.extra/2, now
		if q.extra < time.Millisecond {
			q.extra = 0
		}
	}
	return q.hold + q.extra
}

// relax has packets wait for longer: one has come late.
func (q *resequencer) relax(now time.Duration) {
	if q.extra == 0 || now-q.extraAt > q.hold+q.extra {
		q.extra, q.extraAt = min(max(2*q.extra, q.hold/2), extraMost), now
	}
}

// oldest returns which of those that wait came first.
func (q *resequencer) oldest() (arrival, bool) {
	for q.head != q.tail {
		a := q.arrivals[q.head%uint32(len(q.arrivals))]
		if int32(a.seq-q.seq) >= 0 {
			return a, true
		}
		q.head++
	}
	return arrival{}, false
}

// deadline returns when next will have a packet even if no more come; false if none
// waits.
func (q *resequencer) deadline() (time.Duration, bool) {
	if q.count == 0 {
		return 0, false
	}
	a, ok := q.oldest()
	return a.at + q.hold + q.extra, ok
}

// free lets go of the packets that next has returned.
func (q *resequencer) free() {
	for i, s := range q.passed {
		if s.small != nil {
			s.small.Free()
		} else {
			s.large.Free()
		}
		q.held -= s.size()
		q.budget.Add(-s.size())
		q.passed[i] = slot{}
	}
	q.passed = q.passed[:0]
}

// close lets go of everything.
func (q *resequencer) close() {
	for i := range q.slots {
		if q.slots[i].used() {
			q.passed = append(q.passed, q.slots[i])
			q.slots[i] = slot{}
		}
	}
	q.count, q.head = 0, q.tail
	q.free()
}

// mark notes how far route has come. A route that is new takes the place of the one that
// was silent for longest.
func (q *resequencer) mark(now time.Duration, route uint64, seq uint32) {
	at := 0
	for i := range q.marks {
		m := &q.marks[i]
		if m.route == route {
			if int32(seq-m.seq) > 0 || now-m.at > time.Second {
				m.seq = seq
			}
			m.at = now
			return
		}
		if m.route == 0 || q.marks[at].route != 0 && m.at < q.marks[at].at {
			at = i
		}
	}
	q.marks[at] = mark{route, seq, now}
}
