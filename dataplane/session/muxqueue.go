package session

import (
	"encoding/binary"
	"math"
	"time"
)

// Limits of a muxQueue.
const (
	muxQueueFirst = 256 << 10
	muxQueueMost  = 16 << 20

	muxRecordLen = 8 + 4 + 4 // when it came, length of the header, length of the data

	codelInterval = 100 * time.Millisecond
)

// A muxQueue holds segments before the pacers, in order: what TCP hands down while all
// routes have their fill. It is a ring of bytes, so its memory is what waits and not a
// slab for each segment. The head can be taken away piece by piece. The zero value is
// ready. It belongs to one goroutine at a time.
//
//	| time 8 | header length 4 | data length 4 | header | data |
type muxQueue struct {
	buf        []byte // its length is a power of two, or 0
	head, tail uint64 // bytes taken and put so far; positions modulo the length
	bytes      int    // of data that wait
	codel      muxCodel

	// The first segment, once first has looked at it.
	open bool
	seg  muxSegment
}

// A muxSegment is the first segment of a queue, or what is left of it.
type muxSegment struct {
	came  time.Duration
	hdr   [tcpMaxHeader]byte
	hdrN  int
	total int // bytes of data
	done  int // of them taken
}

// push appends a segment of total bytes in pieces. It returns false if there is no room
// for it within limit bytes.
func (q *muxQueue) push(now time.Duration, hdr []byte, pieces [][]byte, total, limit int) bool {
	need := muxRecordLen + len(hdr) + total
	if q.bytes+total > limit || !q.reserve(need) {
		return false
	}
	var rec [muxRecordLen]byte
	binary.LittleEndian.PutUint64(rec[:], uint64(now))
	binary.LittleEndian.PutUint32(rec[8:], uint32(len(hdr)))
	binary.LittleEndian.PutUint32(rec[12:], uint32(total))
	q.put(rec[:])
	q.put(hdr)
	for _, p := range pieces {
		q.put(p)
	}
	q.bytes += total
	return true
}

func (q *muxQueue) reserve(n int) bool {
	used := int(q.tail - q.head)
	if used+n <= len(q.buf) {
		return true
	}
	size := max(len(q.buf), muxQueueFirst)
	for size < used+n {
		size *= 2
	}
	if size > muxQueueMost {
		return false
	}
	buf := make([]byte, size)
	q.copyOut(q.head, buf[:used])
	q.buf, q.head, q.tail = buf, 0, uint64(used)
	return true
}

func (q *muxQueue) put(b []byte) {
	at := int(q.tail) & (len(q.buf) - 1)
	copy(q.buf, b[copy(q.buf[at:], b):])
	q.tail += uint64(len(b))
}

// copyOut fills b with what stands at pos.
func (q *muxQueue) copyOut(pos uint64, b []byte) {
	if len(b) == 0 {
		return
	}
	at := int(pos) & (len(q.buf) - 1)
	n := copy(b, q.buf[at:])
	copy(b[n:], q.buf)
}

// first returns the first segment, nil if there is none. It stays valid until the next
// call that changes the queue.
func (q *muxQueue) first() *muxSegment {
	if q.open {
		return &q.seg
	}
	if q.head == q.tail {
		return nil
	}
	var rec [muxRecordLen]byte
	q.copyOut(q.head, rec[:])
	q.head += muxRecordLen
	s := &q.seg
	s.came = time.Duration(binary.LittleEndian.Uint64(rec[:]))
	s.hdrN, s.total, s.done = int(binary.LittleEndian.Uint32(rec[8:])), int(binary.LittleEndian.Uint32(rec[12:])), 0
	q.copyOut(q.head, s.hdr[:s.hdrN])
	q.head += uint64(s.hdrN)
	q.open = true
	return s
}

// read fills b with the next data of the first segment and takes it away; the segment
// has so much.
func (q *muxQueue) read(b []byte) {
	q.copyOut(q.head, b)
	q.skip(len(b))
}

// skip takes n bytes of the first segment away.
func (q *muxQueue) skip(n int) {
	q.head += uint64(n)
	q.bytes -= n
	q.seg.done += n
	if q.seg.done == q.seg.total {
		q.open = false
	}
}

// shed takes n bytes of the first segment away where CoDel says that they have waited
// too long: for target, all the time. It reports whether it did.
func (q *muxQueue) shed(now, target time.Duration, n int) bool {
	s := q.first()
	if s == nil || !q.codel.drop(now, now-s.came, target) {
		return false
	}
	q.skip(min(n, s.total-s.done))
	return true
}

// A muxCodel is CoDel (RFC 8289) with a target that is given: the routes before it
// have the delays that they have.
type muxCodel struct {
	high     time.Duration // when the wait will have been long for an interval; 0: it is not
	next     time.Duration // when to drop next, while dropping
	count    int
	dropping bool
}

func (c *muxCodel) drop(now, waited, target time.Duration) bool {
	if waited < target {
		c.high, c.dropping = 0, false
		return false
	}
	switch {
	case c.high == 0:
		c.high = now + codelInterval
		return false
	case !c.dropping && now < c.high, c.dropping && now < c.next:
		return false
	case !c.dropping:
		c.dropping = true
		if c.count > 2 && now-c.next < 16*codelInterval {
			c.count -= 2
		} else {
			c.count = 0
		}
		c.next = now
	}
	c.count++
	c.next += time.Duration(float64(codelInterval) / math.Sqrt(float64(c.count)))
	return true
}
