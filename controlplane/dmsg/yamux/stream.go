package yamux

import (
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"
)

// A Stream is one stream of a session: a net.Conn, and below that interface two
// pairs of methods that spare a layer above the copies: Reserve and Send, Peek and
// Discard.
//
// Concurrency: all methods may be called from anywhere. Bytes stay in order, and
// what Peek returned stays in place, as long as one goroutine at a time uses the
// reading half (Read, Peek, Discard) and one the writing half (Write, Reserve, Send).
//
// Errors: io.EOF after the peer's FIN, ErrReset after its RST (what was received
// and not read is gone, as with the deployed software), os.ErrDeadlineExceeded
// after a deadline, net.ErrClosed after our own Close or Reset, ErrWriteClosed when
// writing after CloseWrite, ErrSessionClosed when the session ended.
type Stream struct {
	sess *Session
	id   uint32
	room roomWait // sess.out.room's

	mu          sync.Mutex
	established bool        // the peer, or Accept, has acknowledged it
	ours        bool        // opened by us
	sentFIN     bool        // we write no more
	gotFIN      bool        // the peer writes no more
	closed      bool        // Close or Reset was called: what arrives is thrown away
	gone        bool        // no longer in the session's table
	err         error       // why both directions are over
	timer       *time.Timer // of the acknowledgement, later of the peer's close

	readable sync.Cond
	readBy   deadline
	rx       bufQueue
	buffered int // bytes in rx
	wanted   int // bytes that the reader waits for; 0: nobody waits
	win      window

	writable sync.Cond
	writeBy  deadline
	credit   int64 // what we may send
}

var _ net.Conn = (*Stream)(nil)

func newStream(s *Session, id uint32, ours bool) *Stream {
	st := &Stream{sess: s, id: id, ours: ours, win: newWindow(), credit: InitialWindow}
	st.readable.L, st.writable.L = &st.mu, &st.mu
	st.readBy.cond, st.writeBy.cond = &st.readable, &st.writable
	return st
}

// ID returns the stream's number in its session.
func (st *Stream) ID() uint32 { return st.id }

// Session returns the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.sess }

// Established reports whether the peer has acknowledged the stream.
func (st *Stream) Established() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.established
}

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.readBy.set(t)
	st.writeBy.set(t)
	return nil
}

// SetReadDeadline sets the deadline of Read and Peek.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.readBy.set(t)
	return nil
}

// SetWriteDeadline sets the deadline of Write and Reserve.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.writeBy.set(t)
	return nil
}

// LocalAddr returns the connection's local address.
func (st *Stream) LocalAddr() net.Addr { return st.sess.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (st *Stream) RemoteAddr() net.Addr { return st.sess.RemoteAddr() }

// CloseWrite tells the peer that no more will be written; reading goes on.
func (st *Stream) CloseWrite() error {
	st.mu.Lock()
	switch {
	case st.closed:
		st.mu.Unlock()
		return net.ErrClosed
	case st.err != nil:
		err := st.err
		st.mu.Unlock()
		return err
	}
	st.finish()
	st.mu.Unlock()
	st.sess.out.flush()
	return nil
}

// Close closes both directions and does not wait. What was written is still
// delivered; what arrives from now on is thrown away, until the peer closes too,
// or has used up its credit or Config.CloseTimeout and is reset. Close is idempotent.
func (st *Stream) Close() error {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return nil
	}
	st.shut()
	if !st.gone {
		st.finish()
	}
	switch {
	case st.gone:
	case st.win.credit == 0:
		st.resetLocked(net.ErrClosed)
	default:
		st.arm(st.sess.cfg.CloseTimeout, net.ErrClosed)
	}
	st.wakeAll()
	st.mu.Unlock()
	st.sess.out.flush()
	return nil
}

// Reset ends the stream at once, both ways. What is queued already still goes out
// before the reset, but the peer will hardly read it.
func (st *Stream) Reset() {
	st.mu.Lock()
	st.shut()
	st.resetLocked(net.ErrClosed)
	st.wakeAll()
	st.mu.Unlock()
	st.sess.out.flush()
}

// shut ends the use of the stream by those above. st.mu is held; wakeAll has to
// follow.
func (st *Stream) shut() {
	st.closed = true
	st.dropReceived()
	st.readBy.stop()
	st.writeBy.stop()
}

// finish sends FIN unless that was done. st.mu is held; flush has to follow.
func (st *Stream) finish() {
	if st.sentFIN || st.err != nil {
		return
	}
	st.sentFIN = true
	st.pushFlags(FlagFIN)
	st.writable.Broadcast()
	if st.gotFIN {
		st.leave()
	}
}

// resetLocked sends RST and ends the stream with err unless it is over. st.mu is
// held; flush has to follow.
func (st *Stream) resetLocked(err error) {
	if st.gone {
		return
	}
	st.pushFlags(FlagRST)
	st.endLocked(err)
}

// pushFlags queues a frame behind the stream's data. st.mu is held.
func (st *Stream) pushFlags(f Flags) {
	b := getBuf(0)
	b.frame(Header{Type: TypeWindowUpdate, Flags: f, StreamID: st.id})
	_ = st.sess.out.push(b, 0) // fails where the session has ended: nobody to tell
}

// endLocked ends both directions with err. st.mu is held.
func (st *Stream) endLocked(err error) {
	if st.err == nil {
		st.err = err
	}
	st.leave()
	st.wakeAll()
}

// end ends the stream because its session has ended.
func (st *Stream) end(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.gone {
		st.endLocked(err)
	}
}

// leave takes the stream out of the session. st.mu is held.
func (st *Stream) leave() {
	if st.gone {
		return
	}
	st.gone = true
	if st.timer != nil {
		st.timer.Stop()
	}
	st.win.close(st.sess.cfg.Budget)
	st.sess.forget(st, st.ours && !st.established)
}

// arm resets the stream with err if it is not over, and not acknowledged if that is
// what it waits for, in d. st.mu is held.
func (st *Stream) arm(d time.Duration, err error) {
	if st.timer != nil {
		st.timer.Stop()
	}
	st.timer = time.AfterFunc(d, func() { st.timeout(err) })
}

func (st *Stream) timeout(err error) {
	st.mu.Lock()
	if st.established && !st.closed {
		st.mu.Unlock()
		return
	}
	st.resetLocked(err)
	st.mu.Unlock()
	st.sess.out.flush()
}

// wakeAll wakes everybody who waits for the stream. st.mu is held.
func (st *Stream) wakeAll() {
	st.wanted = 0
	st.readable.Broadcast()
	st.writable.Broadcast()
}

// dropReceived forgets what was not read. The first Buf may be in the hands of somebody
// who has peeked at it, and writes to it: that one is left to the garbage collector.
// st.mu is held.
func (st *Stream) dropReceived() {
	if st.rx.head != nil {
		st.rx.pop()
	}
	st.rx.free()
	st.buffered = 0
}

// acknowledged notes that the peer took the stream that we opened. st.mu is held.
func (st *Stream) acknowledged() {
	if st.established || !st.ours {
		return
	}
	st.established = true
	if st.timer != nil && !st.closed {
		st.timer.Stop()
	}
	st.sess.openedOne()
}

// accept acknowledges a stream of the peer's and reports whether it still lives.
func (st *Stream) accept() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		return false
	}
	st.established = true
	if !st.gone {
		st.sess.out.pushControl(Header{Type: TypeWindowUpdate, Flags: FlagACK, StreamID: st.id})
	}
	return true
}

// readState reports whether the reader need not wait for n bytes: because they are
// there, or because of err. st.mu is held.
func (st *Stream) readState(n int) (ready bool, err error) {
	switch {
	case st.closed:
		return true, net.ErrClosed
	case st.readBy.expired:
		return true, os.ErrDeadlineExceeded
	case st.buffered >= n:
		return true, nil
	case st.gotFIN:
		return true, io.EOF
	case st.err != nil:
		return true, st.err
	}
	return false, nil
}

// writeErr says what keeps the writer from writing, credit apart. st.mu is held.
func (st *Stream) writeErr() error {
	switch {
	case st.closed:
		return net.ErrClosed
	case st.err != nil:
		return st.err
	case st.sentFIN:
		return ErrWriteClosed
	}
	return nil
}

// addCredit takes a window update. st.mu is held. Credit beyond what a u32 can count
// is no use to anybody.
func (st *Stream) addCredit(n uint32) {
	st.credit = min(st.credit+int64(n), math.MaxUint32)
	st.writable.Broadcast()
}

// wakeWriter wakes the writer, which has got room.
func (st *Stream) wakeWriter() {
	st.mu.Lock()
	st.writable.Broadcast()
	st.mu.Unlock()
}
