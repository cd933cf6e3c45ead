package dmsg

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Stream is a connection between two keys, sealed from end to end. It is a net.Conn
// whose addresses are proto.Addrs. All methods may be called concurrently.
//
// Errors: io.EOF after the peer's CloseWrite or Close, io.ErrUnexpectedEOF where the
// stream ends inside a frame, os.ErrDeadlineExceeded after a deadline, which does no
// harm to the stream, net.ErrClosed after Close, yamux.ErrReset where either end or the
// relay broke the stream off, yamux.ErrSessionClosed where the relay is lost.
type Stream struct {
	mux      *yamux.Stream
	sess     *session
	local    proto.Addr
	remote   proto.Addr
	accepted bool   // by a Listener, and not dialled
	release  func() // gives back what the stream took: port, quota
	released sync.Once
	pongs    atomic.Bool // a ping of the peer is being answered

	r reader
	w writer
}

var _ net.Conn = (*Stream)(nil)

// LocalAddr returns the own key and port, a proto.Addr.
func (s *Stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr returns the peer's key, which is proven, and port, a proto.Addr.
func (s *Stream) RemoteAddr() net.Addr { return s.remote }

// Peer returns the peer's address without the detour of net.Addr.
func (s *Stream) Peer() proto.Addr { return s.remote }

// Relay returns the key of the relay that carries the stream.
func (s *Stream) Relay() cipher.PubKey { return s.sess.server }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error { return s.mux.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.mux.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.mux.SetWriteDeadline(t) }

// CloseWrite tells the peer that no more will be written; reading goes on. Relays of
// the deployed software do not preserve half of a stream: there it ends both halves.
func (s *Stream) CloseWrite() error {
	s.w.mu.Lock() // behind the frames of a Write under way
	defer s.w.mu.Unlock()
	return s.mux.CloseWrite()
}

// Close ends both directions; what was written is still delivered. It frees the port
// and does not wait.
func (s *Stream) Close() error {
	err := s.mux.Close()
	s.done()
	return err
}

// Reset ends both directions at once, without delivering what is under way.
func (s *Stream) Reset() {
	s.mux.Reset()
	s.done()
}

// done gives back what the stream took of its session and client.
func (s *Stream) done() {
	s.released.Do(func() {
		s.sess.forget(s)
		s.release()
	})
}

// answerPing sends a ping back, which is a length of 0 that newer foreign software puts
// between two frames. Only the accepting end does, or two of us would never
// stop. It does not hold up the reader: one answer at a time is under way, and a flood
// of pings gets no more of them.
func (s *Stream) answerPing() {
	if !s.accepted || !s.pongs.CompareAndSwap(false, true) {
		return
	}
	s.sess.c.start(func() {
		defer s.pongs.Store(false)
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		// A failure is that of the stream: the next Write will see it.
		if s.w.flush(s.mux) != nil {
			return
		}
		s.w.tail = append(s.w.tail[:0], 0, 0)
		_ = s.w.flush(s.mux)
	})
}
