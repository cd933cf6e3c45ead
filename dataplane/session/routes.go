package session

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A RouteSpec describes this visor's end of a route: packets for Peer leave to the
// neighbour Out under OutLabel, and Peer's come from the neighbour In under InLabel.
type RouteSpec struct {
	Peer     cipher.PubKey
	Out      forward.Neighbour
	OutLabel packet.Label // what Out gave out
	In       forward.Neighbour
	InLabel  packet.Label  // 1..packet.MaxStaticLabel, one of forward.Engine.Reserve, or 0: give one out
	TTL      time.Duration // of the incoming rule, without a probe or reply; 0: for ever

	// Class is whose streams the route carries; 0 is everybody's. Both ends of a route
	// have to say the same.
	Class uint32
	// Answer leaves the first move to the other end: it has asked for the route, and
	// begins once its own end is there.
	Answer bool
}

// RouteInfo is a snapshot of a route for people and for metrics.
type RouteInfo struct {
	ID     uint64
	Direct bool // a link to the peer itself
	RouteSpec
	State State
	InUse bool // flows are sent on it
	MTU   int  // bytes of the largest route packet
	RTT   time.Duration
	Share float64 // of new flows among routes in use, 0..1; by what it delivers

	LossPPM int64   // of our data packets, by what the other end says has arrived; smoothed
	Mbps    float64 // of our data, likewise: the best rate lately, half forgotten in two minutes

	TxPackets, TxBytes uint64 // data packets and their bodies
	RxPackets, RxBytes uint64
	LastError          uint8 // code of the last route error, 0: none
}

// AddRoute adds a route to spec.Peer. It works whether or not the links are up; the
// handshake runs as soon as they are.
//
// Errors: ErrSelf, and those of forward.AddDeliver and forward.AddEgress.
func (m *Manager) AddRoute(spec RouteSpec) (RouteInfo, error) {
	if err := spec.Peer.Validate(); err != nil {
		return RouteInfo{}, fmt.Errorf("session: peer: %w", err)
	}
	if spec.Peer == m.pk {
		return RouteInfo{}, ErrSelf
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.sessionLocked(end{spec.Peer, spec.Class})
	if err != nil {
		return RouteInfo{}, err
	}
	defer m.dropEmpty(s)
	m.lastID++
	r := &route{s: s, n: m.lastID, spec: spec, id: s.routeID()}
	r.mtu.Store(startMTU)
	if r.egress, err = m.forward.AddEgress(spec.Out, spec.OutLabel, r); err != nil {
		return RouteInfo{}, fmt.Errorf("session: outgoing: %w", err)
	}
	r.rule, err = m.forward.AddDeliver(forward.DeliverSpec{
		In: spec.In, Label: spec.InLabel, TTL: spec.TTL, Sink: r, Expired: func() { r.end(RouteExpired) },
	})
	if err != nil {
		m.forward.RemoveEgress(r.egress)
		return RouteInfo{}, fmt.Errorf("session: incoming: %w", err)
	}
	r.spec.InLabel = r.rule.Label()
	m.routes[r.n] = r
	s.add(r)
	m.wake()
	return r.info(), nil
}

// Routes returns a snapshot of all routes, direct ones too, by ID.
func (m *Manager) Routes() []RouteInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var all []RouteInfo
	for _, s := range m.sessions {
		s.mu.Lock()
		for _, r := range s.routes {
			all = append(all, r.infoLocked())
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b RouteInfo) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (r *route) info() RouteInfo {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.infoLocked()
}

func (r *route) infoLocked() RouteInfo {
	in := RouteInfo{
		ID: r.n, Direct: r.direct != nil, RouteSpec: r.spec, State: r.state(), RTT: r.health.rtt,
		LossPPM: int64(1e6 * r.yield.loss), Mbps: r.yield.mbps,
		MTU:       int(r.mtu.Load()),
		TxPackets: r.tx.Load(), TxBytes: r.txBytes.Load(),
		RxPackets: r.rx.Load(), RxBytes: r.rxBytes.Load(),
		LastError: uint8(r.errCode.Load()),
	}
	if l := r.link(); l != nil {
		in.MTU = r.packetMTU(l)
	}
	if t := r.s.table.Load(); t != nil {
		for _, o := range t.slots {
			if o == r {
				in.InUse = true
				in.Share += 1 / float64(len(t.slots))
			}
		}
	}
	return in
}

// routeID returns an id for a new route.
func (s *Session) routeID() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.draw(func() uint32 { return uint32(randomUint64()) })
}

// routeIDs are the ids that may have been used under the newest keys, those of routes
// that are gone included: two routes with one id would use the same nonces.
type routeIDs map[uint32]bool

// draw returns an id from random that has not been used and is not 0, which is none.
func (u routeIDs) draw(random func() uint32) uint32 {
	for {
		if id := random(); id != 0 && !u[id] {
			u[id] = true
			return id
		}
	}
}

// add puts r among the session's routes. If there are keys already, it is bound
// under them. Keys that change meanwhile find it here: adopt takes the same lock.
func (s *Session) add(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes = append(s.routes, r)
	s.ids[r.id] = true // adopt, since it was drawn, may have forgotten it
	if ep := s.ring.SendEpoch(ns(s.m.links.Now())); ep != nil && r.direct == nil {
		r.prepare(ep)
	}
}

func (s *Session) remove(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.gone = true
	s.routes = slices.DeleteFunc(s.routes, func(o *route) bool { return o == r })
	s.lost = r.lost
	s.reschedule()
}

// dropEmpty forgets a session without routes. mu is held.
func (m *Manager) dropEmpty(s *Session) {
	s.mu.Lock()
	empty := len(s.routes) == 0
	s.mu.Unlock()
	if !empty || m.sessions[s.end()] != s {
		return
	}
	delete(m.sessions, s.end())
	delete(m.byAddr, s.end().addr())
	s.close()
	m.ended = append(m.ended, s)
	m.wake() // the ticker tells the floor above
}

// Attached makes the direct route of a new link. See forward.Ends.
func (m *Manager) Attached(l *link.Link) forward.Sink {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.sessionLocked(end{peer: l.Peer()})
	if err != nil {
		m.log.Error().Err(err).Msg("cannot make a session")
		return nil
	}
	m.lastID++
	end := forward.Neighbour{Peer: l.Peer(), Type: l.Type()}
	r := &route{
		s: s, n: m.lastID, direct: l, id: s.routeID(),
		spec: RouteSpec{Peer: l.Peer(), Out: end, In: end, InLabel: l.DirectIn()},
	}
	m.direct[l] = r
	s.add(r)
	return r
}

// Detached removes the direct route of a link. See forward.Ends.
func (m *Manager) Detached(l *link.Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.direct[l]
	if r == nil {
		return
	}
	m.gone(r, RouteRemoved)
	delete(m.direct, l)
	m.shaker.forget(l)
	r.s.remove(r)
	m.dropEmpty(r.s)
}

// LinkUp lets the ticker look at what can be done now. See forward.Ends.
func (m *Manager) LinkUp(*link.Link) { m.wake() }

// LinkDown moves flows away from the link at once. See forward.Ends.
func (m *Manager) LinkDown(l *link.Link, why error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if r := m.direct[l]; r != nil {
		r.s.mu.Lock()
		r.lost = errors.Is(why, link.ErrLost)
		r.s.mu.Unlock()
	}
	for _, s := range m.sessions {
		s.mu.Lock()
		s.reschedule()
		s.mu.Unlock()
	}
	m.wake()
}
