package link

import (
	"encoding/binary"

	"github.com/skyminer/skywire/dataplane/link/internal/fq"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// maxBorrowed is how many records a sender writes before it leaves the rest to
	// the stream's own goroutine: 256 KiB, about 0.2 ms.
	maxBorrowed = 4

	// packBelow is the size of an item from which on it begins a record of its own:
	// one more write call then costs less than a copy.
	packBelow = 8 << 10

	// maxControl bounds waiting control packets in bytes: a peer that asks and does
	// not read the answers.
	maxControl = 16 << 10

	// maxSwitches is the most key changes that may wait to be written. A peer that
	// keeps to the protocol causes two at most.
	maxSwitches = 4
)

// queued is an item in the fair queue. Little ones move to a Small, so that a long
// queue of them does not pin thirty times its size.
type queued struct {
	buf          *packet.Buf // one of the two is set
	small        *packet.Small
	used, seg, n int
}

func (q *queued) frames() []byte {
	if q.small != nil {
		return q.small.B[:q.used]
	}
	return q.buf.B[:q.used]
}

func (q *queued) free() {
	if q.small != nil {
		q.small.Free()
	} else {
		q.buf.Free()
	}
}

// text returns how much of a record's text the item takes in bytes.
func (q *queued) text() int { return q.used - q.n*(packet.FrameOverhead-packetPrefixLen) }

// cut takes the last frame off into a Buf of its own. A Buf full of a few large
// frames needs it: it has room for 128 bytes more than a record's text has.
func (q *queued) cut() item {
	at := (q.n - 1) * q.seg
	last := item{buf: packet.GetBuf(), n: 1}
	last.used = copy(last.buf.B[:], q.buf.B[at:q.used])
	last.seg = last.used
	q.used, q.n = at, q.n-1
	return last
}

// A keySwitch is the packet that goes last under the old key, and the new one.
type keySwitch struct {
	pkt []byte
	key *noise.SendKey
}

// A writer is what the goroutine that writes at the moment works with. Whoever sets
// stream.writing owns it.
type writer struct {
	key   *noise.SendKey
	nonce noise.Nonce
	rec   record // sealed and not yet written to its end
	next  queued // what the next record begins with, if has
	has   bool
}

// enqueue sends the frames of it, which the stream owns from now on. Their flow is
// the label of the first. What cannot be sent is dropped and counted.
func (s *stream) enqueue(_ *Link, it item) {
	q := queued{buf: it.buf, used: it.used, seg: it.seg, n: it.n}
	if q.text() > maxRecordText {
		last := q.cut()
		defer s.enqueue(nil, last)
	}
	s.mu.Lock()
	switch {
	case s.err != nil:
		s.dropped(q)
	case s.writing:
		flow := binary.BigEndian.Uint32(it.buf.B[packet.FrameHeaderLen:])
		mem := packet.BufCap
		if q.used <= packet.SmallCap {
			q.small, q.buf = packet.GetSmall(), nil
			copy(q.small.B[:], it.buf.B[:it.used])
			it.buf.Free()
			mem = packet.SmallCap
		}
		s.queue.Push(s.cfg.now(), fq.Item[queued]{Flow: flow, Size: it.used, Mem: mem, T: q})
	default:
		s.out.next, s.out.has = q, true
		s.startWriting()
		return
	}
	s.mu.Unlock()
}

// sendControl sends a label 0 packet ahead of all data. pkt is borrowed. It reports
// false if the packet was dropped.
func (s *stream) sendControl(pkt []byte) bool {
	s.mu.Lock()
	if s.err != nil || len(s.control)+packetPrefixLen+len(pkt) > maxControl {
		s.mu.Unlock()
		s.cfg.link.txDrops.Add(1)
		return false
	}
	s.control = binary.BigEndian.AppendUint16(s.control, uint16(len(pkt)))
	s.control = append(s.control, pkt...)
	if s.writing {
		s.mu.Unlock()
	} else {
		s.startWriting()
	}
	return true
}

// switchSend sends the label 0 packet pkt alone in a record, the last under the old
// key; all that follows goes under next. The stream owns pkt from now on.
func (s *stream) switchSend(pkt []byte, next *noise.SendKey) {
	s.mu.Lock()
	switch {
	case s.err != nil:
	case len(s.switches) == maxSwitches:
		s.mu.Unlock()
		s.close(errSwitches)
		return
	default:
		s.switches = append(s.switches, keySwitch{pkt, next})
		if !s.writing {
			s.startWriting()
			return
		}
	}
	s.mu.Unlock()
}

// startWriting makes the caller the writer. Called with mu held, which it releases.
func (s *stream) startWriting() {
	s.writing = true
	if s.sock == nil {
		s.handOver()
		return
	}
	s.mu.Unlock()
	for range maxBorrowed {
		if !s.compose() {
			return
		}
		if !s.flush(false) {
			break
		}
	}
	s.mu.Lock()
	s.handOver()
}

// handOver makes the stream's own goroutine the writer. Called with mu held, which
// it releases. After close no goroutine starts: the last one may be gone and
// counted.
func (s *stream) handOver() {
	if s.err != nil {
		s.stopWriting()
	} else {
		s.cfg.wg.Add(1)
		go s.drainFn()
	}
	s.mu.Unlock()
}

// stopWriting gives up out. Called with mu held.
func (s *stream) stopWriting() {
	s.writing = false
	if s.err != nil {
		s.discard()
		return
	}
	s.queue.Release()
}

// drain writes, and waits for the socket where it must, until nothing is left.
func (s *stream) drain() {
	defer s.cfg.wg.Done()
	if s.out.rec.buf != nil {
		s.flush(true)
	}
	for s.compose() {
		s.flush(true)
	}
}

// compose seals the next record into out.rec. It reports false if there is none,
// and the caller is not the writer any more.
func (s *stream) compose() bool {
	w := &s.out
	change, control, ok := s.begin()
	if !ok {
		return false
	}
	switch {
	case change.key != nil:
		w.rec = newRecord(packet.GetBuf())
		w.rec.add(change.pkt)
		w.rec.n = 1
	case control != nil:
		w.rec = newRecord(packet.GetBuf())
		w.rec.addText(control)
		s.fill()
	default:
		s.fill()
	}
	if err := w.rec.seal(w.key, &w.nonce); err != nil {
		s.close(err)
		return s.compose() // the next look at the queue finds it closed
	}
	if change.key != nil {
		w.key = change.key
	}
	s.cfg.link.txPackets.Add(uint64(w.rec.n))
	s.cfg.link.txBytes.Add(uint64(w.rec.size))
	return true
}

// begin takes what the next record begins with: a key change, control packets, or,
// if both are nil, out.next. If there is nothing, the caller stops writing.
func (s *stream) begin() (change keySwitch, control []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		s.stopWriting()
		return keySwitch{}, nil, false
	case len(s.switches) > 0:
		change, s.switches = s.switches[0], s.switches[1:]
		return change, nil, true
	case len(s.control) > 0:
		control, s.control = s.control, nil
		return keySwitch{}, control, true
	}
	if !s.pop() {
		s.stopWriting()
		return keySwitch{}, nil, false
	}
	return keySwitch{}, nil, true
}

// pop makes sure that out.next is there if anything is queued. Called with mu held.
func (s *stream) pop() bool {
	w := &s.out
	if !w.has && s.queue.Len() > 0 {
		it, ok, _ := s.queue.Pop(s.cfg.now())
		w.next, w.has = it.T, ok
	}
	return w.has
}

// fill packs data into out.rec for as long as there is some that fits, out.next
// first. A record that has not been begun begins in the Buf of its first item.
func (s *stream) fill() {
	w := &s.out
	for {
		s.mu.Lock()
		ok := s.pop()
		s.mu.Unlock()
		if !ok {
			return
		}
		q := &w.next
		switch {
		case w.rec.buf == nil && q.buf != nil:
			w.rec = newRecord(q.buf)
			w.rec.addFrames(q.frames(), q.seg, q.n)
		case w.rec.buf == nil:
			w.rec = newRecord(packet.GetBuf())
			w.rec.addFrames(q.frames(), q.seg, q.n)
			q.free()
		case !w.rec.fits(q.text()) || q.n == 1 && q.used >= packBelow:
			return
		default:
			w.rec.addFrames(q.frames(), q.seg, q.n)
			q.free()
		}
		w.next, w.has = queued{}, false
	}
}

// flush writes out.rec and frees it. It reports false if the rest has to wait; if
// wait is set, it waits. A stream that cannot be written to is closed.
func (s *stream) flush(wait bool) (done bool) {
	r := &s.out.rec
	var n int
	var err error
	if s.sock != nil {
		n, err = s.sock.write(r.buf.B[r.at:r.end], wait)
	} else {
		n, err = s.conn.Write(r.buf.B[r.at:r.end])
	}
	r.at += n
	if err == nil && r.at < r.end {
		return false
	}
	r.buf.Free()
	*r = record{}
	if err != nil {
		s.close(err)
		return true
	}
	s.cfg.link.lastSend.Store(s.cfg.now())
	return true
}

// dropped frees and counts what will not be sent.
func (s *stream) dropped(q queued) {
	s.cfg.link.txDrops.Add(uint64(q.n))
	q.free()
}
