package forward

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// carrier is what the table needs of a link to send on it.
type carrier interface {
	Forward(tx *link.Tx, b *link.Burst, i, j int) error
	MTU() int
	DirectLabel() packet.Label
	SendRouteError(code uint8, mtu int, label packet.Label)
}

// A port is a link as the table sees it.
type port struct {
	link   *link.Link
	out    carrier
	peer   cipher.PubKey
	typ    link.Type
	direct packet.Label
	up     bool // guarded by Engine.mu
}

// preference orders the types of links to one neighbour: a datagram link loses
// nothing to head-of-line blocking, a relayed one comes last.
func preference(t link.Type) int {
	switch t {
	case link.SUDPH:
		return 0
	case link.STCPR:
		return 1
	}
	return 2
}

// An Egress is a neighbour as somebody sends to it under a label: resolved to the
// best link that is up, and again whenever that changes.
type Egress struct {
	to     Neighbour
	label  packet.Label
	port   atomic.Pointer[port]
	rule   *Rule  // the rule that forwards here, or
	origin Origin // the route that begins here
}

// An Origin is the beginning of a route, which wants to hear what becomes of it.
type Origin interface {
	// RouteError is a hint that packets under the Egress's label are lost: code
	// and mtu as in docs/wire.md section 4.3. It runs on the engine's
	// goroutine and must not block or call the Engine.
	RouteError(code uint8, mtu int)
}

// Link returns the link to send on now, or nil while the neighbour has none. It
// costs one atomic load.
func (g *Egress) Link() *link.Link {
	if p := g.port.Load(); p != nil {
		return p.link
	}
	return nil
}

// Label returns the label to send under.
func (g *Egress) Label() packet.Label { return g.label }

// ports knows all links and all that wait for one. Guarded by Engine.mu.
type ports struct {
	byPeer map[cipher.PubKey][]*port
	egress map[cipher.PubKey]map[packet.Label]*Egress
}

func (t *ports) add(p *port) { t.byPeer[p.peer] = append(t.byPeer[p.peer], p) }

func (t *ports) remove(p *port) {
	rest := slices.DeleteFunc(t.byPeer[p.peer], func(q *port) bool { return q == p })
	if len(rest) == 0 {
		delete(t.byPeer, p.peer)
	} else {
		t.byPeer[p.peer] = rest
	}
}

// best returns the link that goes to n now, or nil.
func (t *ports) best(n Neighbour) *port {
	var best *port
	for _, p := range t.byPeer[n.Peer] {
		if p.up && n.matches(p) && (best == nil || cmp.Compare(preference(p.typ), preference(best.typ)) < 0) {
			best = p
		}
	}
	return best
}

// resolve points everything that leaves to peer at the link that is best now.
func (t *ports) resolve(peer cipher.PubKey) {
	for _, g := range t.egress[peer] {
		g.port.Store(t.best(g.to))
	}
}

// addEgress registers g. One neighbour gives out a label once, so two users of it
// are a mistake that would mix their packets.
func (t *ports) addEgress(g *Egress) error {
	of := t.egress[g.to.Peer]
	if of[g.label] != nil {
		return ErrLabelTaken
	}
	if of == nil {
		of = make(map[packet.Label]*Egress)
		t.egress[g.to.Peer] = of
	}
	of[g.label] = g
	g.port.Store(t.best(g.to))
	return nil
}

func (t *ports) removeEgress(g *Egress) {
	of := t.egress[g.to.Peer]
	if of[g.label] != g {
		return
	}
	delete(of, g.label)
	if len(of) == 0 {
		delete(t.egress, g.to.Peer)
	}
	g.port.Store(nil)
}
