package session

import (
	"fmt"

	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// RemoveRoute removes a route of AddRoute; direct ones go with their links. If it has a
// TTL, its hops and its other end are told, so that they need not wait for that. Error:
// ErrNoSuchRoute.
func (m *Manager) RemoveRoute(id uint64) error {
	if !m.endRoute(id, RouteRemoved) {
		return fmt.Errorf("%w: %d", ErrNoSuchRoute, id)
	}
	return nil
}

// endRoute removes a route of AddRoute and reports whether there was one.
func (m *Manager) endRoute(id uint64, why RouteEvent) bool {
	m.mu.Lock()
	r := m.routes[id]
	if r == nil {
		m.mu.Unlock()
		return false
	}
	last := r.link() // RemoveEgress takes it from the route
	m.gone(r, why)
	delete(m.routes, id)
	m.forward.RemoveEgress(r.egress)
	_ = m.forward.RemoveRule(r.rule.Label()) // it may have expired
	if r.spec.TTL != 0 {
		r.s.mu.Lock()
		r.lost = true // another may be set up in its place
		r.s.mu.Unlock()
	}
	r.s.remove(r)
	m.dropEmpty(r.s)
	m.mu.Unlock()
	if last != nil && r.spec.TTL != 0 {
		m.send(func(tx *link.Tx, _ *scratch) { sendClose(tx, last, r.egress) })
	}
	return true
}

// sendClose ends our direction of a route: each hop drops the rule that it passed, and
// the other end, when it arrives there, does the same for its direction. A hop that
// forges it can do no more than by dropping what it is to carry.
func sendClose(tx *link.Tx, l *link.Link, to *forward.Egress) {
	tx.Start(l)
	p := tx.Packet(packet.Padded(1))
	packet.RouteHeader{Label: to.Label(), Kind: packet.KindClose, Length: 1}.Put(p)
	clear(p[packet.RouteHeaderLen:])
	p[packet.RouteHeaderLen] = link.CloseRemoved
	_ = tx.Flush() // if it is lost, TTLs do what it was to do
}
