package yamux

import (
	"errors"
	"io"
)

// Read reads what has arrived, waiting for it until the read deadline.
func (st *Stream) Read(p []byte) (int, error) {
	st.mu.Lock()
	if len(p) == 0 {
		_, err := st.readState(0)
		st.mu.Unlock()
		return 0, err
	}
	if err := st.waitRead(1); err != nil {
		st.mu.Unlock()
		return 0, err
	}
	n := 0
	for b := st.rx.head; b != nil && n < len(p); b = b.next {
		n += copy(p[n:], b.mem[b.r:b.w])
	}
	send := st.take(n)
	st.mu.Unlock()
	if send {
		st.sess.out.flush()
	}
	return n, nil
}

// Peek returns the next n bytes in one piece, waiting for them until the read
// deadline. They are the caller's, to write to as well, until the next call of Discard
// or Read, or of Peek for more. n is 1 to MaxPeek, or else the error is ErrPeek.
//
// Where the stream ends before, Peek returns what there is and io.EOF if that is
// nothing, else io.ErrUnexpectedEOF. After a deadline all bytes are still there.
func (st *Stream) Peek(n int) ([]byte, error) {
	if n < 1 || n > MaxPeek {
		return nil, ErrPeek
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	err := st.waitRead(n)
	if errors.Is(err, io.EOF) && st.buffered > 0 {
		n, err = st.buffered, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	b := st.rx.head
	if b.len() < n {
		b = st.pullUp(n)
	}
	return b.mem[b.r : b.r+n : b.r+n], err
}

// Discard takes n bytes off, at most as many as Buffered returns, and lets the peer
// send more.
func (st *Stream) Discard(n int) {
	st.mu.Lock()
	send := st.take(min(max(n, 0), st.buffered))
	st.mu.Unlock()
	if send {
		st.sess.out.flush()
	}
}

// Buffered returns how many bytes can be read without waiting.
func (st *Stream) Buffered() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.buffered
}

// waitRead waits until n bytes are there. st.mu is held.
func (st *Stream) waitRead(n int) error {
	for {
		if ready, err := st.readState(n); ready {
			return err
		}
		if st.wanted == 0 || n < st.wanted {
			st.wanted = n
		}
		st.win.wait()
		st.readable.Wait()
	}
}

// pullUp makes the first n buffered bytes, which lie in several Bufs, lie in one. st.mu is
// held.
func (st *Stream) pullUp(n int) *Buf {
	one := getBuf(n)
	for one.len() < n {
		b := st.rx.head
		m := copy(one.mem[one.w:one.w+n-one.len()], b.mem[b.r:b.w])
		one.w += m
		if b.r += m; b.len() == 0 {
			st.rx.pop().free()
		}
	}
	one.next = st.rx.head
	if st.rx.head = one; one.next == nil {
		st.rx.tail = one
	}
	return one
}

// take takes n bytes off and reports whether a grant was queued. st.mu is held.
func (st *Stream) take(n int) (granted bool) {
	st.buffered -= n
	for left := n; left > 0; {
		b := st.rx.head
		m := min(left, b.len())
		left -= m
		if b.r += m; b.len() == 0 {
			st.rx.pop().free()
		}
	}
	if !st.win.read(int64(n)) || st.gotFIN || st.gone {
		return false
	}
	if st.win.yield(st.sess.cfg.Budget); st.win.pending == 0 {
		return false
	}
	st.win.watch()
	st.pushGrant()
	return true
}

// pushGrant lets the peer send more. st.mu is held; flush has to follow.
func (st *Stream) pushGrant() {
	st.sess.out.pushControl(Header{Type: TypeWindowUpdate, StreamID: st.id, Length: st.win.grant()})
}

// receive appends p, which belongs to a frame with left bytes to come, p included.
// The session's reader calls it, for bytes that arrive has admitted.
func (st *Stream) receive(p []byte, left int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.err != nil {
		return
	}
	st.buffered += len(p)
	for len(p) > 0 {
		b := st.rx.tail
		if b == nil || b.w == len(b.mem) {
			// As large as the frame, or as a good part of what waits already: small
			// frames take small Bufs, and many of them not too many.
			b = getBuf(min(max(left, st.buffered/2), MaxFrame))
			st.rx.push(b)
		}
		m := copy(b.mem[b.w:], p)
		b.w += m
		p, left = p[m:], left-m
	}
	if st.wanted > 0 && st.buffered >= st.wanted {
		st.wanted = 0
		st.readable.Broadcast()
	}
}
