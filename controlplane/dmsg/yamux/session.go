package yamux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
	"time"
)

// maxUnsent is how many bytes stand in the kernel in front of a control frame: 0.2 s
// of an uplink of 10 Mbit/s.
const maxUnsent = 256 << 10

// lingerTime is how long Close waits for what is queued to be written.
const lingerTime = time.Second

// A Session is one connection and its streams. All methods are safe for
// concurrent use.
type Session struct {
	cfg     Config
	conn    net.Conn
	out     sender
	wg      sync.WaitGroup // the reader, and the sender's goroutine
	accept  chan *Stream
	opening chan struct{} // one per stream of ours that is not acknowledged
	goneCh  chan struct{}
	done    chan struct{}
	alive   keepAlive
	pings   pings
	in      input // the reader's own

	mu      sync.Mutex // below the streams', above the sender's
	err     error      // why the session has ended
	streams map[uint32]*Stream
	nextID  uint32 // of the stream that we open next
	peerID  uint32 // the greatest that the peer has opened
	refuse  bool   // we have sent a go-away
	gone    bool   // goneCh is closed
}

// New starts a session on conn, which belongs to it from then on: nobody else may
// read, write or close it. On failure conn is left alone.
func New(conn net.Conn, cfg Config) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Session{
		cfg:     cfg,
		conn:    conn,
		accept:  make(chan *Stream, cfg.AcceptBacklog),
		opening: make(chan struct{}, cfg.AcceptBacklog),
		goneCh:  make(chan struct{}),
		done:    make(chan struct{}),
		streams: make(map[uint32]*Stream),
		nextID:  2,
	}
	if cfg.Client {
		s.nextID = 1
	}
	Tune(conn, maxUnsent)
	s.out = sender{conn: conn, raw: newRawWriter(conn), timeout: cfg.WriteTimeout, fatal: s.die, wg: &s.wg}
	s.out.gathered.L = &s.out.mu
	s.wg.Add(1)
	go s.read()
	s.alive.start(s)
	return s, nil
}

// Open begins a stream and returns at once: the peer's acknowledgement is not
// waited for, and data may be written before it comes. Only with
// Config.AcceptBacklog of our streams unacknowledged does it wait, until ctx is
// done, for one of them.
//
// Errors: ErrGoAway, ErrTooMany, ErrSessionClosed, ctx's cause.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	select {
	case s.opening <- struct{}{}:
	default:
		select {
		case s.opening <- struct{}{}:
		case <-s.goneCh:
			return nil, ErrGoAway
		case <-s.done:
			return nil, s.Err()
		case <-ctx.Done():
			return nil, fmt.Errorf("yamux: open: %w", context.Cause(ctx))
		}
	}
	st, err := s.newOwn()
	if err != nil {
		s.openedOne()
		return nil, err
	}
	s.out.flush()
	st.mu.Lock()
	if !st.established && !st.gone {
		st.arm(s.cfg.OpenTimeout, ErrOpenTimeout)
	}
	st.mu.Unlock()
	return st, nil
}

// newOwn makes the next stream of ours and queues its SYN.
func (s *Session) newOwn() (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.gone:
		return nil, ErrGoAway
	case len(s.streams) >= s.cfg.MaxStreams, s.nextID > math.MaxUint32-2:
		return nil, ErrTooMany
	}
	st := newStream(s, s.nextID, true)
	s.nextID += 2
	s.streams[st.id] = st
	// Under the lock, so that SYNs leave in the order of their numbers.
	s.out.pushControl(Header{Type: TypeWindowUpdate, Flags: FlagSYN, StreamID: st.id})
	return st, nil
}

// openedOne lets the next Open go on.
func (s *Session) openedOne() { <-s.opening }

// Accept returns the next stream that the peer opened. Streams that were reset
// before anybody accepted them are passed over.
//
// Errors: ErrSessionClosed, ctx's cause.
func (s *Session) Accept(ctx context.Context) (*Stream, error) {
	for {
		select {
		case st := <-s.accept:
			if st.accept() {
				s.out.flush()
				return st, nil
			}
		case <-s.done:
			return nil, s.Err()
		case <-ctx.Done():
			return nil, fmt.Errorf("yamux: accept: %w", context.Cause(ctx))
		}
	}
}

// GoAway tells the peer to open no more streams here; those that it does open are
// reset. The streams that there are live on.
func (s *Session) GoAway() {
	s.mu.Lock()
	first := !s.refuse
	s.refuse = true
	s.mu.Unlock()
	if first {
		s.out.pushControl(Header{Type: TypeGoAway, Length: uint32(GoAwayNormal)})
		s.out.flush()
	}
}

// GoneAway is closed when the peer has told us to open no more streams.
func (s *Session) GoneAway() <-chan struct{} { return s.goneCh }

// Close ends the session and its streams; for a second at most it waits until what
// was queued is written. It is idempotent and returns when the session's
// goroutines have ended.
func (s *Session) Close() error {
	s.out.linger(lingerTime)
	s.die(net.ErrClosed)
	s.wg.Wait()
	return nil
}

// Done is closed when the session has ended, for whatever reason.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns nil while the session lives, and then why it ended, in an error that
// wraps ErrSessionClosed too.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// NumStreams returns how many streams the session holds, those included that wait
// for Accept or for the peer to close.
func (s *Session) NumStreams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// LocalAddr returns the connection's local address.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// die ends the session because of cause; the first cause stays. No lock is held.
func (s *Session) die(cause error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = fmt.Errorf("%w: %w", ErrSessionClosed, cause)
	err := s.err
	streams := slices.Collect(maps.Values(s.streams))
	s.mu.Unlock()

	if errors.Is(cause, ErrProtocol) {
		// Where it does not go out at once the peer will have to guess.
		s.out.pushControl(Header{Type: TypeGoAway, Length: uint32(GoAwayProtocolError)})
		s.out.flush()
	}
	s.out.fail(err)
	_ = s.conn.Close()
	s.alive.stop()
	for _, st := range streams {
		st.end(err)
	}
	close(s.done)
	if e := s.cfg.Log.Debug(); e.Enabled() {
		e.Err(cause).Int("streams", len(streams)).Msg("yamux session ended")
	}
}

// forget takes st out of the table; opening is whether it was never acknowledged.
// st.mu is held.
func (s *Session) forget(st *Stream, opening bool) {
	s.mu.Lock()
	delete(s.streams, st.id)
	s.mu.Unlock()
	if opening {
		s.openedOne()
	}
}

// read is the goroutine that reads the connection.
func (s *Session) read() {
	defer s.wg.Done()
	src := newSource(s.conn)
	defer src.release()
	for {
		p, err := src.next()
		if err == nil {
			s.alive.heard.Add(1)
			err = s.feed(p)
			s.out.flush() // what the frames called for, in one write
		} else if errors.Is(err, io.EOF) {
			err = errors.New("yamux: the peer closed the connection")
		}
		if err != nil {
			s.die(err)
			return
		}
	}
}
