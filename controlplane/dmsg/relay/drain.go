package relay

import (
	"golang.org/x/sys/unix"
)

// drain is the goroutine that writes the session's queue. It ends with the queue.
func (s *session) drain() {
	err := s.raw.Write(func(fd uintptr) bool { return s.out.drain(int(fd)) })
	if err != nil { // closed
		s.out.fail()
	}
}

// drain writes until the queue is empty, which it reports, or the socket takes no
// more.
func (o *outbox) drain(fd int) bool {
	var scratch [writeBurst][]byte
	for {
		vecs := o.front(scratch[:0])
		if vecs == nil {
			return true
		}
		n, err := unix.Writev(fd, vecs)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			o.fail()
			o.s.giveUp(EndedByError)
			return true
		default:
			o.done(n)
		}
	}
}

// front returns the first chunks of the queue. With an empty queue the drainer is
// done and it returns nil.
func (o *outbox) front(vecs [][]byte) [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead || len(o.chunks) == 0 {
		o.draining = false
		o.release()
		o.wake()
		return nil
	}
	start := o.start
	for _, c := range o.chunks[:min(len(o.chunks), writeBurst)] {
		vecs = append(vecs, c.buf[start:c.n])
		start = 0
	}
	return vecs
}

// done takes n written bytes off the queue and does what has waited for that.
func (o *outbox) done(n int) {
	o.mu.Lock()
	o.written += uint64(n)
	o.level.Add(-int32(n))
	for n > 0 {
		c := o.chunks[0]
		left := c.n - o.start
		if n < left {
			o.start += n
			break
		}
		n -= left
		o.start = 0
		o.chunks[0] = nil
		o.chunks = o.chunks[1:]
		o.s.srv.chunks.Put(c)
	}
	o.payOwed()
	released := o.takeHeld()
	o.wake()
	o.mu.Unlock()
	for _, g := range released {
		g.c.grant(g.side, g.n)
	}
}

// fail ends the drainer, and the outbox with it.
func (o *outbox) fail() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead, o.draining = true, false
	o.release()
	o.wake()
}
