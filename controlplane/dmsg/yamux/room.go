package yamux

import "sync"

// sendRoom is how many bytes of data all streams of a session together may have
// reserved or queued: four of the longest frames, so that some are sealed while
// others are written. A control frame waits behind no more than that and what the
// kernel holds.
const sendRoom = 4 * MaxFrame

// room shares sendRoom out among streams, first come, first served, so that none is
// starved by busier ones. Order of locks: a Stream's, then room's.
type room struct {
	mu         sync.Mutex
	used       int
	head, tail *Stream // those that wait, linked by Stream.room.next
}

// roomWait is a stream's place in line; room.mu guards it.
type roomWait struct {
	want   int  // bytes
	got    int  // taken already for the stream to find
	inLine bool // no room yet
	next   *Stream
}

// acquire takes room for up to n bytes and returns it; got is below n if
// the stream waited for less before. 0 means that there is none and that st is in
// line: st.wakeWriter will be called when asking again succeeds. st.mu is held.
func (r *room) acquire(st *Stream, n int) (got int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &st.room
	switch {
	case w.got > 0:
		// Of what a longer wait left, the rest stays for the next call.
		got = min(w.got, n)
		w.got -= got
		return got
	case w.inLine:
		return 0
	case r.head == nil && r.fits(n):
		r.used += n
		return n
	}
	w.want, w.inLine, w.next = n, true, nil
	if r.tail == nil {
		r.head = st
	} else {
		r.tail.room.next = st
	}
	r.tail = st
	return 0
}

// fits reports whether there is room for n more bytes. A lone frame always fits.
func (r *room) fits(n int) bool { return r.used == 0 || r.used+n <= sendRoom }

// give gives n bytes back. No stream's lock is held.
func (r *room) give(n int) {
	r.mu.Lock()
	r.used -= n
	var few [8]*Stream
	woken := r.admit(few[:0])
	r.mu.Unlock()
	for _, st := range woken {
		st.wakeWriter()
	}
}

// leave undoes an acquire whose stream no longer waits. No stream's lock is held.
func (r *room) leave(st *Stream) {
	r.mu.Lock()
	w := &st.room
	r.used -= w.got
	w.got = 0
	if w.inLine {
		r.unlink(st)
	}
	var few [8]*Stream
	woken := r.admit(few[:0])
	r.mu.Unlock()
	for _, st := range woken {
		st.wakeWriter()
	}
}

// unlink takes st out of the line.
func (r *room) unlink(st *Stream) {
	var prev *Stream
	for w := r.head; w != st; w = w.room.next {
		prev = w
	}
	if prev == nil {
		r.head = st.room.next
	} else {
		prev.room.next = st.room.next
	}
	if r.tail == st {
		r.tail = prev
	}
	st.room.next, st.room.inLine = nil, false
}

// admit takes room for those at the head of the line and appends them to dst.
func (r *room) admit(dst []*Stream) []*Stream {
	for r.head != nil && r.fits(r.head.room.want) {
		st := r.head
		r.unlink(st)
		st.room.got = st.room.want
		r.used += st.room.got
		dst = append(dst, st)
	}
	return dst
}
