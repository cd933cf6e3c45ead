package forward

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Errors that callers branch on.
var (
	ErrLabelTaken   = errors.New("forward: label is taken")
	ErrNoLabel      = errors.New("forward: no label left")
	ErrBadLabel     = errors.New("forward: not a label that can be set by hand: use 1 to 65535")
	ErrSamePeer     = errors.New("forward: a path must not hold the same key twice")
	ErrNoRule       = errors.New("forward: no such rule")
	ErrTransitOff   = errors.New("forward: this visor does not carry transit traffic: set transit.allow")
	ErrTooManyRules = errors.New("forward: transit.max_routes reached")

	ErrTooManyReserved = errors.New("forward: too many labels are reserved: route set-ups that never end")
)

// A Sink is the end of a route: it takes what a deliver rule accepts.
type Sink interface {
	// Receive takes b.Pkt[i:j], a run under r's label, on the packet worker of
	// b.From. Packets are borrowed and may be written to, as link.Burst has it;
	// answers go out through b.Tx. Runs from two links of one neighbour may come
	// concurrently.
	Receive(b *link.Burst, i, j int, r *Rule)
}

// A Neighbour names who is at the other end of a link, and of which kind of link.
type Neighbour struct {
	Peer cipher.PubKey
	Type link.Type // 0: any
}

func (n Neighbour) String() string {
	if n.Type == 0 {
		return n.Peer.String()
	}
	return fmt.Sprintf("%s over %s", n.Peer, n.Type)
}

func (n *Neighbour) matches(p *port) bool {
	return n.Peer == p.peer && (n.Type == 0 || n.Type == p.typ)
}

// A RuleSpec describes a forwarding rule: what arrives from neighbour In under
// InLabel leaves to neighbour Out under OutLabel.
type RuleSpec struct {
	In       Neighbour
	InLabel  packet.Label // 1..packet.MaxStaticLabel, one of Engine.Reserve for In, or 0: give one out
	Out      Neighbour
	OutLabel packet.Label  // what Out gave out
	TTL      time.Duration // without a probe or reply passing; 0: for ever, a close does not end it either
	// Turn lets In and Out be the same neighbour: a route that comes back, to measure a
	// part of a longer one.
	Turn bool
}

// A DeliverSpec describes the end of a route: what arrives from neighbour In
// under Label goes to Sink.
type DeliverSpec struct {
	In    Neighbour
	Label packet.Label // as RuleSpec.InLabel
	TTL   time.Duration
	Sink  Sink
	// Expired, if not nil, is called when the rule has been removed because no probe or
	// reply came for its TTL. It runs on the engine's goroutine; it must not block, and
	// may call the Engine.
	Expired func()
}

// A Rule is one entry of the table. Only its counters and times change.
type Rule struct {
	label packet.Label
	in    Neighbour
	only  *port   // a direct label takes packets from this one link
	hop   *Egress // where to forward; nil for a deliver rule
	sink  Sink
	ttl   time.Duration

	probed  atomic.Bool // a probe or reply came through since the last sweep
	closed  atomic.Bool // a close came through
	expires time.Duration
	expired func() // of a deliver rule: who hears of it

	// lastIn is where packets come from, so that errors find the way back.
	lastIn         atomic.Pointer[port]
	packets, bytes atomic.Uint64
}

// Label returns the label under which packets come in.
func (r *Rule) Label() packet.Label { return r.label }

// Direct reports whether this is a link's direct label: packets under it come from
// the authenticated neighbour itself and no further.
func (r *Rule) Direct() bool { return r.only != nil }

// Counters returns how many packets and bytes (of route packets) the rule took.
func (r *Rule) Counters() (packets, bytes uint64) { return r.packets.Load(), r.bytes.Load() }

// accepts reports whether packets under r's label may come from p.
func (r *Rule) accepts(p *port) bool {
	if r.only != nil {
		return r.only == p
	}
	return r.in.matches(p)
}

// count notes a run that r took from p.
func (r *Rule) count(p *port, packets, bytes int) {
	r.packets.Add(uint64(packets))
	r.bytes.Add(uint64(bytes))
	if r.lastIn.Load() != p {
		r.lastIn.Store(p)
	}
}

// A RuleInfo is a snapshot of a rule for people and for metrics.
type RuleInfo struct {
	Op       string // "forward", "deliver" or "direct"
	In       Neighbour
	InLabel  packet.Label
	Out      Neighbour // forward only
	OutLabel packet.Label

	// Waiting names the neighbours that a rule needs a link to and has none; it
	// is empty when packets can pass.
	Waiting []Neighbour

	Packets, Bytes uint64
	TTL            time.Duration // 0: for ever
}
