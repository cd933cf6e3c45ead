package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
)

// An Upper is the floor above: it takes what sessions bring.
type Upper interface {
	// Deliver takes payloads of one protocol that came in a row, without their
	// proto byte, on a packet worker. Borrowed until it returns.
	Deliver(from *Session, proto uint8, payloads [][]byte)

	// SessionUp and SessionDown follow a session, one at a time and never on a
	// packet worker. Down means that nothing has come back for ten seconds, or that
	// the last route is gone; up may follow again. Where a session has been replaced
	// by another to the same peer meanwhile, that one carries on, and no end is told.
	SessionUp(s *Session)
	SessionDown(s *Session, err error)
}

// Config describes a Manager.
type Config struct {
	Static  *cipher.StaticKey
	Links   *link.Engine
	Forward *forward.Engine
	Upper   Upper
	Limits  noise.Limits // when keys are renewed
	// Clock gives handshake timestamps; nil: one that does not outlive the process.
	Clock *noise.Clock
	// Mux spreads what every session sends over all its good routes; SetMux does so for
	// one. Otherwise the best route is used and the others stand by.
	Mux bool
	// OnRoute, if not nil, hears what becomes of routes, one event at a time and from
	// the ticker: it must return quickly, and may call the Manager.
	OnRoute func(RouteInfo, RouteEvent)
	Log     zerolog.Logger
}

// An end is what a session leads to: a peer, over the routes of one class.
type end struct {
	peer  cipher.PubKey
	class uint32
}

// addr returns the overlay address that stands for e in this process.
func (e end) addr() [16]byte { return e.peer.ClassAddr(e.class).As16() }

// A Manager keeps a visor's sessions. All methods are safe for concurrent use.
type Manager struct {
	cfg        Config
	pk         cipher.PubKey
	links      *link.Engine
	forward    *forward.Engine
	upper      Upper
	log        zerolog.Logger
	shaker     *handshaker
	scratch    scratchPool
	reassembly atomic.Int64 // bytes in all reassemblers
	// resequencing counts those in all resequencers.
	resequencing atomic.Int64
	drops        drops
	hurryLink    func(peer cipher.PubKey, typ link.Type) // the engine's Hurry

	mu       sync.RWMutex // guards the rest; before Session.mu
	sessions map[end]*Session
	byAddr   map[[16]byte]*Session
	direct   map[*link.Link]*route
	routes   map[uint64]*route // those of AddRoute
	lastID   uint64
	notices  []notice   // of routes that are gone, for the ticker to tell
	ended    []*Session // whose end the ticker has yet to tell, now or when the peer stays away

	kick    chan struct{} // wakes the ticker
	ticking []*Session    // the ticker's scratch
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// New returns a Manager that works at once: it hears of links from the forwarding
// engine and makes direct sessions by itself. Close ends its goroutines.
func New(cfg Config) (*Manager, error) {
	if cfg.Static == nil || cfg.Links == nil || cfg.Forward == nil || cfg.Upper == nil {
		return nil, errors.New("session: Static, Links, Forward and Upper are needed")
	}
	if cfg.Limits == (noise.Limits{}) {
		cfg.Limits = noise.DefaultLimits()
	}
	if err := cfg.Limits.Validate(); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if cfg.Clock == nil {
		clock, err := noise.NewClock("", cfg.Log)
		if err != nil {
			return nil, fmt.Errorf("session: %w", err)
		}
		cfg.Clock = clock
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Manager{
		cfg: cfg, pk: cfg.Static.PubKey(), links: cfg.Links, forward: cfg.Forward, upper: cfg.Upper, log: cfg.Log,
		sessions: make(map[end]*Session),
		byAddr:   make(map[[16]byte]*Session),
		direct:   make(map[*link.Link]*route),
		routes:   make(map[uint64]*route),
		kick:     make(chan struct{}, 1),
		cancel:   cancel,
	}
	m.shaker, m.hurryLink = newHandshaker(m), cfg.Links.Hurry
	m.done.Go(func() { m.shaker.run(ctx) })
	m.done.Go(func() { m.run(ctx) })
	m.forward.Subscribe(m)
	return m, nil
}

// Close stops handshakes, probes and callbacks, and returns when they have ended.
// Nothing can be sent afterwards. Close the link engine first, so that no packet
// comes in any more.
func (m *Manager) Close() {
	m.cancel()
	m.done.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		s.close()
	}
}

// Lookup returns the session with this overlay address, which is cipher.PubKey.ClassAddr
// of its peer and class.
func (m *Manager) Lookup(overlay [16]byte) (*Session, bool) {
	m.mu.RLock()
	s, ok := m.byAddr[overlay]
	m.mu.RUnlock()
	return s, ok
}

// Session returns the ordinary session of a peer, if there is one.
func (m *Manager) Session(pk cipher.PubKey) (*Session, bool) { return m.SessionClass(pk, 0) }

// SessionClass returns the session of a peer over the routes of one class.
func (m *Manager) SessionClass(pk cipher.PubKey, class uint32) (*Session, bool) {
	m.mu.RLock()
	s, ok := m.sessions[end{pk, class}]
	m.mu.RUnlock()
	return s, ok
}

// SetMux spreads what is sent to pk over all good routes of a class, or no longer: streams
// packet by packet, datagrams by their ports. What pk sends is pk's own choice. It is a
// property of the session, from the first route to the last, and does nothing where there
// is none: call it after AddRoute.
func (m *Manager) SetMux(pk cipher.PubKey, class uint32, on bool) {
	s, ok := m.SessionClass(pk, class)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mux = on || m.cfg.Mux
	s.reschedule()
}

// dialPatience is how long Dial waits for links and handshakes that are not there:
// longer than the second retry of either.
const dialPatience = 8 * time.Second

// Dial waits until packets can be sent to pk and returns its ordinary session. A peer
// that nobody knows a way to fails at once.
//
// Errors: *PathError with ErrNoRoute, ErrRouteDown or ErrHandshakeTimeout; those of
// ctx.
func (m *Manager) Dial(ctx context.Context, pk cipher.PubKey) (*Session, error) {
	return m.DialClass(ctx, pk, 0)
}

// DialClass is Dial over the routes of one class.
func (m *Manager) DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (*Session, error) {
	s, ok := m.SessionClass(pk, class)
	if !ok {
		return nil, &PathError{Peer: pk, Class: class, Err: ErrNoRoute}
	}
	if s.Up() {
		return s, nil
	}
	s.hurry()
	patience := time.NewTimer(dialPatience)
	defer patience.Stop()
	for {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		switch {
		case s.Up():
			return s, nil
		case closed:
			return nil, &PathError{Peer: pk, Class: class, Err: ErrNoRoute}
		}
		select {
		case <-changed:
		case <-patience.C:
			return nil, s.diagnose(ns(m.links.Now()))
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", s.diagnose(ns(m.links.Now())), context.Cause(ctx))
		}
	}
}

// hurry does not leave the first move to the peer, nor a first hop that is down to its
// own pace: somebody waits.
func (s *Session) hurry() {
	s.shake.tieUntil.Store(1)
	var down []forward.Neighbour
	s.mu.Lock()
	for _, r := range s.routes {
		if r.link() == nil {
			down = append(down, r.firstHop())
		}
	}
	s.mu.Unlock()
	for _, n := range down {
		s.m.hurryLink(n.Peer, n.Type)
	}
	s.m.wake()
}

// hurryEvery is how often packets that have no way hurry a session.
const hurryEvery = time.Second

// noRoute counts a packet that has no way. Whoever sends datagrams may never dial
// again, so they hurry the session as well.
func (s *Session) noRoute() error {
	s.m.drops.add(DropNoRoute)
	now := s.m.links.Now()
	if last := s.hurried.Load(); now-last >= int64(hurryEvery) && s.hurried.CompareAndSwap(last, now) {
		s.hurry()
	}
	return ErrNoRoute
}

// wake lets the ticker look at once. It never blocks.
func (m *Manager) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// send runs f with scratch of its own.
func (m *Manager) send(f func(tx *link.Tx, sc *scratch)) {
	tx, sc := m.links.GetTx(), m.scratch.get()
	f(tx, sc)
	m.scratch.put(sc)
	m.links.PutTx(tx)
}

// sessionLocked returns the session of an end, which it makes if needed. mu is held.
func (m *Manager) sessionLocked(at end) (*Session, error) {
	if s := m.sessions[at]; s != nil {
		return s, nil
	}
	s, err := newSession(m, at, ns(m.links.Now()))
	if err != nil {
		return nil, err
	}
	s.mux = m.cfg.Mux
	m.sessions[at] = s
	m.byAddr[at.addr()] = s
	return s, nil
}

// close ends the session: nothing is sent any more, and Dial fails.
func (s *Session) close() {
	s.mu.Lock()
	s.closed = true
	s.table.Store(nil)
	s.respray()
	s.notify()
	s.mu.Unlock()
	s.unspray.close()
	s.ring.Clear()
	s.pieces.close()
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, crypto/rand says
	return binary.BigEndian.Uint64(b[:])
}
