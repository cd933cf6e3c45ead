// Package setup makes routes: label-switched paths through visors that the source of
// the route has chosen (docs/routing.md).
//
//   - A Client, at the source, signs what it wants and asks setup nodes for it.
//   - A Node, the setup node, has each visor on the path reserve labels and then
//     install rules, in two rounds, and takes everything back where one fails.
//   - A Hop, at every visor, does what the setup nodes of its configuration ask for,
//     within quotas.
//
// Who learns what is the point of the design: the node sees the path, which it must;
// the destination gets the source's signed statement and knows its last neighbour; a
// visor in the middle gets two neighbours, labels and a time to live, in requests of
// the same form wherever it stands. All of it is HTTP and JSON over dmsg streams, which
// prove the keys of both their ends.
//
// Which path to take is not decided here but in package router.
package setup

import (
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// Ports, limits and defaults of route set-up.
const (
	// NodePort is the dmsg port of setup nodes, HopPort that of visors for set-up.
	NodePort = 36
	HopPort  = 136

	// MaxHops is the longest path in links.
	MaxHops = 16

	// DefaultTTL is how long rules live without a probe where a request says nothing,
	// MaxTTL what a hop allows at most.
	DefaultTTL = 2 * time.Minute
	MaxTTL     = 10 * time.Minute
)

// A Step is a visor on a path and the type of the link that leads to it; the zero
// type is any.
type Step struct {
	PK   cipher.PubKey
	Type link.Type
}

// A Table is the visor's label table, a *forward.Engine.
type Table interface {
	Reserve(in forward.Neighbour, ttl time.Duration) (packet.Label, error)
	Release(label packet.Label)
	AddRule(s forward.RuleSpec) (packet.Label, error)
	RemoveRule(label packet.Label) error
	Rules() []forward.RuleInfo
}

// Sessions is where routes end, a *session.Manager.
type Sessions interface {
	AddRoute(spec session.RouteSpec) (session.RouteInfo, error)
	RemoveRoute(id uint64) error
	SetMux(pk cipher.PubKey, class uint32, on bool)
}

// LinksOf returns a function that says whether a link to a neighbour, of its type or of
// any where that is 0, is up at e.
func LinksOf(e *link.Engine) func(forward.Neighbour) bool {
	return func(n forward.Neighbour) bool {
		for _, l := range e.Links() {
			if l.Peer() == n.Peer && (n.Type == 0 || l.Type() == n.Type) && l.Up() {
				return true
			}
		}
		return false
	}
}
