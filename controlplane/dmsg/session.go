package dmsg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// connectTimeout bounds the TCP connection to a relay.
	connectTimeout = 10 * time.Second
	// pingTimeout is how long a session that is under suspicion has to answer.
	pingTimeout = 5 * time.Second
	// maxStreams bounds the streams of one session; newer foreign relays have 2048.
	maxStreams = 16384
)

// A SessionInfo describes a session with a relay.
type SessionInfo struct {
	Server  cipher.PubKey
	Addr    string        // host:port of the relay
	Since   time.Time     // when it began
	RTT     time.Duration // the latest measurement
	Streams int           // open streams
	// Kept sessions are those that the client stays connected with and that its entry
	// names; the others were opened to reach a peer and end when they are idle.
	Kept bool
	// Listed sessions are those by which others find the client: its entry in the discovery
	// names the relay since this session began. Without a Directory it is the kept ones.
	Listed bool
	// Draining sessions take no new streams: the relay is about to stop.
	Draining bool
}

// A session is the secured, multiplexed connection with one relay.
type session struct {
	c      *Client
	server cipher.PubKey
	addr   string
	hop    *proto.Session
	mux    *yamux.Session
	since  time.Time
	rtt    atomic.Int64 // nanoseconds
	probed atomic.Bool  // a ping is under way

	draining atomic.Bool // the relay takes no new streams

	// Guarded by Client.mu.
	kept    bool
	listed  bool      // in the entry as published last
	retired bool      // ended by us, for it is not needed any more
	idle    time.Time // since when there has been no stream, or the relay has been draining; zero: neither, or nobody looked

	halfOpen chan struct{} // one token per incoming stream that is not set up yet

	mu      sync.Mutex
	streams map[*Stream]struct{} // nil once the session has ended
}

// connect opens a session with the relay of entry. It is not registered yet.
func (c *Client) connect(ctx context.Context, entry *disc.Entry) (*session, error) {
	if entry.Server == nil {
		return nil, proto.ErrNotServer
	}
	conn, err := c.dialTCP(ctx, entry.Server)
	if err != nil {
		return nil, err
	}
	hop, err := c.id.DialSession(ctx, conn, entry.Static)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("dmsg: session with relay %s at %s: %w", entry.Static, entry.Server.Address, err)
	}
	mux, err := yamux.New(conn, yamux.Config{
		Client:       true,
		KeepAlive:    c.cfg.KeepAlive,
		WriteTimeout: c.cfg.Patience,
		MaxStreams:   maxStreams,
		Budget:       c.cfg.Budget,
		Log:          c.log.With().Stringer("relay", entry.Static).Logger(),
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("dmsg: session with relay %s: %w", entry.Static, err)
	}
	s := &session{
		c: c, server: entry.Static, addr: entry.Server.Address, hop: hop, mux: mux, since: time.Now(),
		halfOpen: make(chan struct{}, maxHalfOpen), streams: map[*Stream]struct{}{},
	}
	s.rtt.Store(int64(hop.RTT()))
	return s, nil
}

// dialTCP connects to a relay, by its second address where the first does not answer.
func (c *Client) dialTCP(ctx context.Context, at *disc.Server) (net.Conn, error) {
	addrs := []string{at.Address}
	if at.AddressV6 != "" && at.AddressV6 != at.Address {
		addrs = append(addrs, at.AddressV6)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	won, failed := race[net.Conn]{
		n: len(addrs), want: 1,
		headStart: func(int) time.Duration { return connectHeadStart },
		attempt: func(ctx context.Context, i int) (net.Conn, error) {
			return c.cfg.DialContext(ctx, "tcp", addrs[i])
		},
		lost:  func(conn net.Conn) { conn.Close() },
		start: c.start,
	}.run(ctx)
	if len(won) == 1 {
		return won[0], nil
	}
	errs := []error{context.Cause(ctx)}
	for _, f := range failed {
		errs = append(errs, f.err)
	}
	return nil, fmt.Errorf("dmsg: connect to relay: %w", errors.Join(errs...))
}

// live runs the session until it ends and says why it did.
func (s *session) live() error {
	s.c.start(s.acceptStreams)
	select {
	case <-s.mux.Done():
	case <-s.mux.GoneAway():
		s.c.drain(s)
		<-s.mux.Done()
	}
	s.mu.Lock()
	orphans := s.streams
	s.streams = nil
	s.mu.Unlock()
	for st := range orphans {
		st.done() // its user may take a while to notice
	}
	return s.mux.Err()
}

// adopt makes st one of the session's streams; it fails once the session has ended.
func (s *session) adopt(st *Stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		return proto.ErrSessionClosed
	}
	s.streams[st] = struct{}{}
	return nil
}

// forget undoes adopt. A relay that drains waits for the last stream.
func (s *session) forget(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	if s.draining.Load() && len(s.streams) == 0 {
		poke(s.c.wake)
	}
}

// load returns how many streams are open.
func (s *session) load() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// suspect probes the session, once at a time.
func (s *session) suspect() {
	if s.probed.CompareAndSwap(false, true) {
		defer s.probed.Store(false)
		s.probe(pingTimeout)
	}
}

// info describes s. Client.mu is held.
func (s *session) info() SessionInfo {
	return SessionInfo{
		Server: s.server, Addr: s.addr, Since: s.since, RTT: time.Duration(s.rtt.Load()),
		Streams: s.load(), Kept: s.kept, Draining: s.draining.Load(),
		Listed: s.listed || s.kept && s.c.cfg.Directory == nil,
	}
}
