package session

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
)

// A Session is the way to one peer over the routes of one class, however many there
// are. It lives from the first route to the last. All methods are safe for concurrent use.
type Session struct {
	m     *Manager
	peer  cipher.PubKey
	class uint32 // of its routes

	table  atomic.Pointer[table] // nil: nothing can be sent
	ring   *noise.Ring[epochState]
	phases phases
	mask   uint64 // hides our clock in probe tokens

	fragments atomic.Uint32 // ids of payloads sent in pieces
	pieces    reassembler

	hurried atomic.Int64 // when packets without a way last hurried us

	spray   atomic.Pointer[spray] // nil: every flow keeps to one route
	unspray unspray
	trip    atomic.Int64  // see Spread, in ns
	rate    atomic.Uint64 // likewise
	origin  time.Duration // of the clock that the peer sees

	shake sessionShake
	up    bool // as the ticker told the floor above; nobody else looks

	mu     sync.Mutex // after a route's recvMu, never before it
	routes []*route
	mux    bool // spread flows over all good ones
	ids    routeIDs
	// changed is closed and replaced when what Dial waits for may have changed.
	changed chan struct{}
	heard   time.Duration // when something last arrived, or the session began
	closed  bool
	// lost says, once there are no routes, that the last one did not end for good: its
	// connection broke off, or it was one of those that come and go.
	lost bool
}

func newSession(m *Manager, at end, now time.Duration) (*Session, error) {
	s := &Session{
		m: m, peer: at.peer, class: at.class,
		mask: randomUint64(), changed: make(chan struct{}), heard: now, ids: routeIDs{},
	}
	s.origin = time.Duration(randomUint64() >> 12)
	s.pieces.budget = &m.reassembly
	s.fragments.Store(uint32(randomUint64()))
	var err error
	s.ring, err = noise.NewRing(m.cfg.Limits, func(e *epoch) { s.phases.remove(e.Local) })
	return s, err
}

// PubKey returns the peer's key, which the keys in use prove.
func (s *Session) PubKey() cipher.PubKey { return s.peer }

// Class returns the class of its routes, 0 for the ordinary ones.
func (s *Session) Class() uint32 { return s.class }

func (s *Session) end() end { return end{s.peer, s.class} }

// Up reports whether packets can be sent now.
func (s *Session) Up() bool { return s.table.Load() != nil }

// pick returns the route for a packet that begins with head, and its link. Packets
// of one flow, which is the first four bytes (the ports), keep to one route as long
// as it is good.
func (s *Session) pick(head []byte) (*route, *link.Link) {
	t := s.table.Load()
	if t == nil {
		return nil, nil
	}
	var flow uint32
	if len(head) >= 4 {
		flow = binary.BigEndian.Uint32(head)
	}
	if r := t.route(flow); r != nil {
		if l := r.link(); l != nil {
			return r, l
		}
	}
	return nil, nil
}

// confirm notes that a packet opened under ep: if we answered the handshake that
// made ep, the peer has the keys, and we send with them from now on.
func (s *Session) confirm(ep *epoch) {
	if s.ring.Confirm(ep) {
		s.adopt(ep)
		s.m.wake()
	}
}

// adopt makes ep, which has just become current, the keys to send with: at once on
// the route that the handshake ran over, on the others once it is bound there.
func (s *Session) adopt(ep *epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring.SendEpoch(ep.Made()) != ep {
		return // newer ones have overtaken these
	}
	clear(s.ids)
	for _, r := range s.routes {
		s.ids[r.id] = true
		if r.direct != nil && r != ep.User.first {
			continue // direct packets need no numbers; the first's bind confirms the keys
		}
		r.prepare(ep)
		if r.direct == nil && r == ep.User.first {
			r.send.Store(r.next)
			r.begin()
		}
	}
	s.reschedule() // what has just come may want an answer at once
}

// prepare gives the route a number space under ep and has it bound. Session.mu is
// held.
func (r *route) prepare(ep *epoch) {
	if r.next == nil || r.next.epoch != ep {
		r.next = &sendState{epoch: ep, id: r.id}
		r.bindAt, r.bindTry = 0, 0
	}
}

// begin makes a route good that has got its keys: the peer has just been heard on it.
// Session.mu is held.
func (r *route) begin() {
	if l := r.link(); l != nil && r.health.state == StateWaiting {
		r.health.reset(r.traffic())
		r.health.state = StateUp
		r.search.restart(l.MTU())
	}
}

// notify wakes who waits in Dial. mu is held.
func (s *Session) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// reschedule chooses anew what to send on. mu is held.
func (s *Session) reschedule() {
	for _, r := range s.routes {
		r.usable = !r.gone && r.ready() && (r.health.state == StateUp || r.health.state == StateSuspect)
	}
	old := s.table.Load()
	s.respray()
	fresh := choose(s.routes, old, s.mux)
	if fresh.same(old) {
		return
	}
	s.table.Store(fresh)
	s.notify()
}
