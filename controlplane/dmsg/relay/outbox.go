package relay

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

const (
	// queueLimit bounds what waits for one session, in bytes. At half of it the
	// session's window updates are held back, so that its senders run out of
	// credit; at the whole of it they are not read.
	queueLimit = 1 << 20
	queueHalf  = queueLimit / 2
	// controlSlack is how much beyond the limit control frames may go: resets and
	// ends of streams, bounded by their number, and answers to the peer's own
	// frames.
	controlSlack = 256 << 10

	chunkSize  = 32 << 10
	writeBurst = 16 // chunks in one write
)

// An outbox sends to one session. Whoever has something for the session writes it
// at once, straight from its own memory, as long as the socket takes it; the rest
// goes into chunks that a goroutine of their own drains, which lives as long as
// there are any.
type outbox struct {
	s     *session
	level atomic.Int32 // bytes queued

	mu       sync.Mutex
	dead     bool
	draining bool          // the drainer runs: nobody else writes
	chunks   []*chunk      // queued, in order
	start    int           // bytes of chunks[0] that are written
	room     chan struct{} // closed when chunks have been written; nil while nobody waits
	owed     []ref         // circuits with owed credit for this session's end
	owedAt   uint64        // enqueued when the last owed credit was queued
	heldList []ref         // circuits with held credit from this session's end
	waiting  int           // senders that wait for room
	stall    stallBudget   // what their waiting may still cost

	enqueued, written uint64 // bytes through the queue, ever
	direct            directWrite
}

// A ref is one end of a circuit.
type ref struct {
	c    *circuit
	side int
}

// A chunk is a piece of a queue, from a pool shared by all sessions.
type chunk struct {
	n   int
	buf [chunkSize]byte
}

// directWrite carries the arguments of a write through RawConn.Write without an
// allocation.
type directWrite struct {
	call func(fd uintptr) bool
	vecs [][]byte
	n    int
	err  error
}

func (o *outbox) init(s *session) {
	o.s = s
	o.direct.call = o.direct.write
}

// write is one attempt, never waited for.
func (d *directWrite) write(fd uintptr) bool {
	for {
		var n int
		var err error
		if len(d.vecs) == 1 {
			n, err = unix.Write(int(fd), d.vecs[0])
		} else {
			n, err = unix.Writev(int(fd), d.vecs)
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return true
		}
		d.n, d.err = max(0, n), err
		return true
	}
}

// busy reports whether something is queued.
func (o *outbox) busy() bool { return o.level.Load() > 0 }

// holds reports whether so much is queued that the session's credit is held back.
func (o *outbox) holds() bool { return o.level.Load() > queueHalf }

// send passes vecs, each of whole frames, to the session's peer. from is the session
// whose reader calls; it may wait here, see stallLimit. Dead sessions swallow
// everything. false means that the peer takes too little and the rest was dropped.
// vecs is borrowed for the call and may be changed.
func (s *session) send(from *session, vecs [][]byte) bool {
	o := &s.out
	o.mu.Lock()
	if !o.draining && !o.dead {
		n, ok := o.writeNow(vecs)
		rest, cut := advance(vecs, n)
		if !ok || len(rest) == 0 {
			o.mu.Unlock()
			return true
		}
		// The frame that the socket took a part of; the queue is empty, so it fits.
		o.push(rest[0][:cut])
		rest[0] = rest[0][cut:]
		vecs = rest
	}
	vecs = o.fill(vecs)
	o.mu.Unlock()
	return len(vecs) == 0 || s.sendLater(from, vecs)
}

// control sends one frame of the relay's own, whatever is queued already. body goes
// behind the header for data and is borrowed for the call.
func (s *session) control(h yamux.Header, body []byte) {
	var head [yamux.HeaderLen]byte
	h.Put(head[:])
	s.controlBytes(append(head[:], body...))
}

// answer notes in b what the session's own peer made us send: whoever asks a lot gets
// its answers together, and not by a system call for each with s.mu held.
func (s *session) answer(b *batch, h yamux.Header) Reason {
	if s.unread() {
		return ViolationNoReading
	}
	n := len(b.answer)
	b.answer = b.answer[:n+yamux.HeaderLen]
	h.Put(b.answer[n:])
	return ReasonNone
}

// unread reports whether so much is queued that only what the peer itself called for
// can have come on top of its data: who asks for more than it reads has broken the
// protocol.
func (s *session) unread() bool { return s.out.level.Load() > queueLimit+controlSlack/2 }

// controlBytes is control for frames that are ready. They are borrowed for the call.
func (s *session) controlBytes(frames []byte) {
	o := &s.out
	o.mu.Lock()
	o.put(frames)
	o.mu.Unlock()
}

// put writes or queues whole frames. o.mu is held.
func (o *outbox) put(frames []byte) {
	if o.dead {
		return
	}
	if !o.draining {
		vecs := [][]byte{frames}
		n, ok := o.writeNow(vecs)
		if !ok {
			return
		}
		frames = frames[n:]
	}
	if len(frames) > 0 {
		o.push(frames)
	}
}

// writeNow writes what the socket takes of vecs and returns how many bytes that
// was. Where the connection is broken it gives up the session and returns false.
// o.mu is held and the drainer does not run.
func (o *outbox) writeNow(vecs [][]byte) (int, bool) {
	d := &o.direct
	d.vecs, d.n, d.err = vecs, 0, nil
	err := o.s.raw.Write(d.call)
	d.vecs = nil
	if err != nil || d.err != nil {
		o.dead = true
		o.s.giveUp(EndedByError)
		return 0, false
	}
	return d.n, true
}

// advance returns vecs without their first n bytes and how many bytes of the result
// belong to the frame that n is in.
func advance(vecs [][]byte, n int) (rest [][]byte, cut int) {
	for len(vecs) > 0 && n >= len(vecs[0]) {
		n -= len(vecs[0])
		vecs = vecs[1:]
	}
	if len(vecs) == 0 {
		return nil, 0
	}
	v := vecs[0]
	at := 0
	for at < n {
		at += frameLen(v[at:])
	}
	vecs[0] = v[n:]
	return vecs, at - n
}

// fill queues as many whole frames of vecs as fit and returns the others. o.mu is
// held.
func (o *outbox) fill(vecs [][]byte) [][]byte {
	for len(vecs) > 0 {
		v := vecs[0]
		room, n := queueLimit-int(o.level.Load()), 0
		for n < len(v) {
			f := frameLen(v[n:])
			if n+f > room {
				break
			}
			n += f
		}
		if n > 0 {
			o.push(v[:n])
		}
		if n < len(v) {
			vecs[0] = v[n:]
			return vecs
		}
		vecs = vecs[1:]
	}
	return nil
}

// push copies p to the end of the queue and sees that it is drained. o.mu is held.
func (o *outbox) push(p []byte) {
	o.level.Add(int32(len(p)))
	o.enqueued += uint64(len(p))
	for len(p) > 0 {
		if n := len(o.chunks); n == 0 || o.chunks[n-1].n == chunkSize {
			c := o.s.srv.chunks.Get().(*chunk)
			c.n = 0
			o.chunks = append(o.chunks, c)
		}
		c := o.chunks[len(o.chunks)-1]
		n := copy(c.buf[c.n:], p)
		c.n += n
		p = p[n:]
	}
	if !o.draining && len(o.chunks) > 0 {
		o.draining = true
		o.s.srv.group.Go(o.s.drain)
	}
}

// end makes the outbox swallow everything from now on and lets go of its memory.
// The drainer, if there is one, still holds the chunks that it writes.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = true
	if !o.draining {
		o.release()
	}
	o.wake()
}

// release frees the chunks. o.mu is held.
func (o *outbox) release() {
	for _, c := range o.chunks {
		o.s.srv.chunks.Put(c)
	}
	o.chunks, o.start = nil, 0
	o.level.Store(0)
	o.owed, o.heldList = nil, nil
}

// wake lets those who wait for room look again. o.mu is held.
func (o *outbox) wake() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}
