package relay

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Conn is a client's connection, as net.Listen gives it for TCP.
type Conn interface {
	net.Conn
	syscall.Conn
}

// A session is one client's connection. Its reader goroutine is the only one it has
// while it is idle, and it holds no buffer then.
type session struct {
	srv   *Server
	conn  net.Conn
	raw   syscall.RawConn
	hop   *proto.Session
	peer  cipher.PubKey
	place place // what the session counts against

	closing atomic.Bool
	done    chan struct{} // closed when the session is over

	intake // the reader's own

	away     atomic.Bool   // the peer takes no new streams
	setups   atomic.Int32  // circuits being set up that this session dials
	incoming atomic.Int32  // circuits being set up that this session answers
	batches  atomic.Uint32 // batches read, for the keep-alive
	forged   atomic.Int32  // forged or repeated requests since the last tick

	mu       sync.Mutex
	circuits map[uint32]*circuit // by stream id; nil while there is none
	last     *circuit            // that of lastID: bulk is one stream for many frames
	lastID   uint32
	top      uint32 // the highest id that the peer has opened
	next     uint32 // the next id of ours
	stray    int64  // bytes for closed streams that may still come in
	refused  int    // streams refused since the last tick

	work workshop
	out  outbox
	life life // the ticker's own
}

func newSession(srv *Server, conn net.Conn, raw syscall.RawConn, hop *proto.Session, at place) *session {
	s := &session{
		srv: srv, conn: conn, raw: raw, hop: hop, peer: hop.Remote(), place: at,
		done: make(chan struct{}), next: 2,
	}
	s.out.init(s)
	return s
}

// lookup returns the circuit of a stream, or nil. s.mu is held.
func (s *session) lookup(id uint32) *circuit {
	if s.last != nil && s.lastID == id {
		return s.last
	}
	c := s.circuits[id]
	if c != nil {
		s.last, s.lastID = c, id
	}
	return c
}

// remember adds a circuit. s.mu is held.
func (s *session) remember(id uint32, c *circuit) {
	if s.circuits == nil {
		s.circuits = map[uint32]*circuit{}
	}
	s.circuits[id] = c
}

// forget removes a circuit, after which stray more bytes for it may come. s.mu is
// held.
func (s *session) forget(id uint32, c *circuit, stray int64) {
	if s.circuits[id] != c {
		return
	}
	delete(s.circuits, id)
	if len(s.circuits) == 0 {
		s.circuits = nil
	}
	s.last = nil
	// As if no more than one direction's bound could ever be under way.
	s.stray = min(s.stray+stray, maxCredit)
}

// existed reports whether a stream with that id is or was there. s.mu is held.
func (s *session) existed(id uint32) bool {
	if sideOf(id) == dialer {
		return id <= s.top
	}
	return id != 0 && id < s.next
}

// close ends the session once, for the first reason given. The caller holds no lock
// and is not in the middle of reading or writing the connection.
func (s *session) close(why Reason) {
	if !s.closing.CompareAndSwap(false, true) {
		return
	}
	s.srv.stats.count(why)
	s.srv.leave(s)
	s.mu.Lock()
	circuits := make([]*circuit, 0, len(s.circuits))
	for _, c := range s.circuits {
		circuits = append(circuits, c)
	}
	s.mu.Unlock()
	s.out.end()
	close(s.done)
	for _, c := range circuits {
		if c.kill(-1, ResetSessionGone) {
			c.unlink()
		}
	}
	// Last, because it waits for the reader and the drainer to let go of the socket;
	// for that reason, too, neither of them may be the one who closes.
	_ = s.conn.Close() // nobody is left to tell
	if e := s.srv.log.Debug(); e.Enabled() {
		e.Stringer("client", s.peer).Stringer("reason", why).Msg("session ended")
	}
	if why.Violation() {
		s.logViolation(why)
	}
}

// giveUp closes the session from a place that must not wait for that.
func (s *session) giveUp(why Reason) {
	s.srv.group.Go(func() { s.close(why) })
}

func (s *session) logViolation(why Reason) {
	s.srv.violations.Warn().Stringer("client", s.peer).Stringer("address", s.place).Stringer("reason", why).
		Msg("a client broke the protocol and lost its session")
}

// violationLog returns a logger that no peer can fill a disk with.
func violationLog(log zerolog.Logger) zerolog.Logger {
	return log.Sample(&zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second})
}

// goAway tells the client to open no more streams here.
func (s *session) goAway() {
	s.control(yamux.Header{Type: yamux.TypeGoAway, Length: uint32(yamux.GoAwayNormal)}, nil)
}

// streams returns how many circuits the session has.
func (s *session) streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.circuits)
}
