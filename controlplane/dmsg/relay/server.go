package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// replayWindow is how long a request is remembered, so that it is not passed on
	// twice; replayLimit is how many are.
	replayWindow = time.Minute
	replayLimit  = 1 << 16
)

// A Server is a relay. Safe for concurrent use.
type Server struct {
	cfg        Config
	log        zerolog.Logger
	violations zerolog.Logger
	stats      stats
	replay     *proto.Replay
	gate       *gate
	batches    *sync.Pool    // of *batch
	chunks     sync.Pool     // of *chunk
	processors chan struct{} // a place in it is the right to do cryptography
	draining   atomic.Bool
	group      sync.WaitGroup // all goroutines but those of Serve's callers

	mu       sync.RWMutex
	sessions map[cipher.PubKey]*session
	slots    int // given to sessions round robin, for the ticker
}

// New returns a relay that has yet to be given listeners.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, log: cfg.Log, violations: violationLog(cfg.Log),
		replay:     proto.NewReplay(replayWindow, replayLimit, time.Now),
		gate:       newGate(&cfg),
		batches:    newBatches(),
		chunks:     sync.Pool{New: func() any { return new(chunk) }},
		processors: make(chan struct{}, runtime.GOMAXPROCS(0)),
		sessions:   map[cipher.PubKey]*session{},
	}, nil
}

// PubKey returns the relay's key.
func (srv *Server) PubKey() cipher.PubKey { return srv.cfg.Identity.PubKey() }

// Serve accepts clients from ln until ctx ends or ln fails for good, and then stops:
// it closes ln, tells the clients to move, waits for that at most for DrainTimeout,
// and closes what is left. It returns nil if ctx was the reason. Call it once; to
// serve more addresses, join their listeners. Connections from ln must be TCP's or
// at least a [Conn].
func (srv *Server) Serve(ctx context.Context, ln net.Listener) error {
	tick, stop := context.WithCancel(context.Background())
	srv.group.Go(func() { srv.tick(tick) })
	closing := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer closing()

	err := srv.accept(ctx, ln)
	srv.drain(ctx.Err() != nil)
	stop()
	srv.group.Wait()
	return err
}

// accept takes connections until ln is closed.
func (srv *Server) accept(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	var pause time.Duration
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("relay: accept: %w", err)
		case err != nil: // out of files, mostly: it passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			srv.violations.Error().Err(err).Dur("pause", pause).Msg("cannot accept connections")
			if !sleep(ctx, pause) {
				return nil
			}
			continue
		}
		pause = 0
		srv.receive(ctx, conn)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// find returns the newest session of a key, or nil.
func (srv *Server) find(pk cipher.PubKey) *session {
	srv.mu.RLock()
	defer srv.mu.RUnlock()
	return srv.sessions[pk]
}

// join makes s the session of its key and returns the one before, or nil. false
// means that the relay is about to stop.
func (srv *Server) join(s *session) (old *session, ok bool) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.draining.Load() {
		return nil, false
	}
	old = srv.sessions[s.peer]
	srv.sessions[s.peer] = s
	srv.slots++
	s.life.slot = srv.slots % tickSlots
	return old, true
}

// leave forgets s, and it alone: a newer session of its key stays.
func (srv *Server) leave(s *session) {
	srv.mu.Lock()
	if srv.sessions[s.peer] == s {
		delete(srv.sessions, s.peer)
	}
	srv.mu.Unlock()
	srv.gate.leave(s.place, false)
}

// all returns the sessions there are.
func (srv *Server) all() []*session {
	srv.mu.RLock()
	defer srv.mu.RUnlock()
	out := make([]*session, 0, len(srv.sessions))
	for _, s := range srv.sessions {
		out = append(out, s)
	}
	return out
}
