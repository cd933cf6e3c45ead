package yamux

import "os"

// Write sends p, waiting for credit until the write deadline. It copies p. A short
// write returns how much of p the stream has taken.
func (st *Stream) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		b, err := st.Reserve(len(p) - n)
		if err != nil {
			return n, err
		}
		m := copy(b.Bytes(), p[n:])
		if err := st.Send(b, m); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// Reserve waits until the peer gives credit and the session has room, then returns
// a buffer for as many bytes as there is credit for now: at least 1, at most want,
// which is cut to MaxFrame. The caller fills the start of b.Bytes() and hands b back by
// exactly one Send, soon: meanwhile it holds a share of the room that all streams
// of the session have together.
//
// Errors: see Stream; nothing is reserved then.
func (st *Stream) Reserve(want int) (*Buf, error) {
	out := &st.sess.out
	want = min(max(want, 1), MaxFrame)
	st.mu.Lock()
	for {
		err := st.writeErr()
		if err == nil && st.writeBy.expired {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			st.mu.Unlock()
			out.room.leave(st)
			return nil, err
		}
		if st.credit > 0 {
			if n := out.room.acquire(st, int(min(int64(want), st.credit))); n > 0 {
				st.credit -= int64(n)
				st.mu.Unlock()
				b := getBuf(n)
				b.room = n
				return b, nil
			}
		}
		st.writable.Wait()
	}
}

// Send sends the first n bytes of b.Bytes() as one data frame and gives b up. It
// never waits. With n of 0 it only gives the reservation back.
//
// Errors: see Stream; b is given up then too.
func (st *Stream) Send(b *Buf, n int) error {
	out := &st.sess.out
	reserved := b.room
	_ = b.Bytes()[:n] // n out of range is the caller's bug
	st.mu.Lock()
	if n < reserved {
		st.credit += int64(reserved - n)
		st.writable.Broadcast()
	}
	err := st.writeErr()
	if err != nil || n == 0 {
		st.mu.Unlock()
		b.free()
		out.room.give(reserved)
		return err
	}
	b.frame(Header{Type: TypeData, StreamID: st.id, Length: uint32(n)})
	err = out.push(b, n)
	st.mu.Unlock()
	if err != nil {
		return err
	}
	if n < reserved {
		out.room.give(reserved - n)
	}
	out.flush()
	return nil
}
