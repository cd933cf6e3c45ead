package forward

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// Codes of route errors, docs/wire.md section 4.3.
const (
	CodeTooBig   uint8 = 1
	CodeNoLabel  uint8 = 2
	CodeLinkDown uint8 = 3
	CodeLimit    uint8 = 4
)

// CodeText says in words what a hop means by a code.
func CodeText(code uint8) string {
	switch code {
	case CodeTooBig:
		return "packet too big for the next link"
	case CodeNoLabel:
		return "no rule for this label"
	case CodeLinkDown:
		return "the next link is down"
	case CodeLimit:
		return "over the transit limit"
	}
	return fmt.Sprintf("code %d", code)
}

// Transit says what this visor carries for others.
type Transit struct {
	Allow     bool
	MaxMbps   int // of all forwarded route packets together; 0: no limit
	MaxRoutes int // forwarding rules; 0: no limit
}

// Config describes an Engine.
type Config struct {
	PubKey  cipher.PubKey // this visor
	Transit Transit
	Log     zerolog.Logger
}

// Ends is the floor above, where routes end. Its methods are called one at a time
// and never on a packet worker; they may call the Engine.
type Ends interface {
	// Attached hears of a new link, not up yet, and returns the sink for packets
	// that come from its neighbour under the link's direct label.
	Attached(l *link.Link) Sink
	Detached(l *link.Link)
	LinkUp(l *link.Link)
	LinkDown(l *link.Link, err error)
}

// An Engine is a visor's label table. It implements link.Handler. All methods are
// safe for concurrent use.
type Engine struct {
	cfg   Config
	table packet.Slots[Rule] // by label slot
	links sync.Map           // *link.Link → *port; read once per burst
	meter meter
	drops drops

	notify sync.Mutex // serialises the calls to ends; taken before mu
	ends   Ends

	mu     sync.Mutex // guards the rest; never held across a call out
	labels labels
	rules  map[packet.Label]*Rule
	// reserved are labels that have been given out, and have no rule yet.
	reserved map[packet.Label]*reservation
	ports    ports
	transit  int // forwarding rules among rules

	hints  chan hint // route errors that wait for the engine's goroutine
	cancel context.CancelFunc
	ended  chan struct{} // closed when that has ended
}

// New returns an empty table and starts the goroutine that removes expired rules and
// passes route errors on; Close ends it.
func New(cfg Config) *Engine {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Engine{
		cfg:      cfg,
		rules:    make(map[packet.Label]*Rule),
		reserved: make(map[packet.Label]*reservation),
		ports:    ports{byPeer: make(map[cipher.PubKey][]*port), egress: make(map[cipher.PubKey]map[packet.Label]*Egress)},
		hints:    make(chan hint, maxHints),
		cancel:   cancel,
		ended:    make(chan struct{}),
	}
	e.meter.setMbps(cfg.Transit.MaxMbps)
	go e.run(ctx)
	return e
}

// Close stops the engine's goroutine. Close the link engine first: rules stay in force.
func (e *Engine) Close() {
	e.cancel()
	<-e.ended
}

// HandleBurst forwards and delivers the packets of b, run by run. See link.Handler.
func (e *Engine) HandleBurst(b *link.Burst) {
	v, ok := e.links.Load(b.From)
	if !ok { // detached while packets were under way
		e.drops.add(DropNoLabel, b.N)
		return
	}
	p := v.(*port)
	for i := 0; i < b.N; {
		label := labelOf(b.Pkt[i])
		j, bytes, seen := run(b, i, label)
		r := e.table.Load(label.Slot())
		switch {
		case r == nil || r.label != label:
			e.refuse(p, DropNoLabel, CodeNoLabel, 0, label, j-i)
		case !r.accepts(p): // to a stranger, a label of somebody else does not exist
			e.refuse(p, DropWrongLink, CodeNoLabel, 0, label, j-i)
		default:
			if seen.any(refreshing) && r.ttl != 0 {
				r.probed.Store(true)
			}
			r.count(p, j-i, bytes)
			if r.hop != nil {
				e.forward(p, b, i, j, r, bytes)
				if seen.any(closing) && r.ttl != 0 {
					r.closed.Store(true) // the next sweep removes it: what overtook the close still passes
				}
			} else if r.sink != nil {
				r.sink.Receive(b, i, j, r)
			} else {
				e.drops.add(DropNoSink, j-i)
			}
		}
		i = j
	}
}

// kinds is a set of packet kinds below 64, one bit each; a hop does not know others.
type kinds uint64

const (
	refreshing kinds = 1<<packet.KindProbe | 1<<packet.KindReply
	closing    kinds = 1 << packet.KindClose
)

func (k kinds) any(of kinds) bool { return k&of != 0 }

// run finds the end of the packets from i on that have the same label, their size
// together, and which kinds are among them.
func run(b *link.Burst, i int, label packet.Label) (j, bytes int, seen kinds) {
	for j = i; j < b.N; j++ {
		pkt := b.Pkt[j]
		if labelOf(pkt) != label {
			break
		}
		bytes += len(pkt)
		seen |= 1 << pkt[4]
	}
	return j, bytes, seen
}

func labelOf(pkt []byte) packet.Label { return packet.Label(binary.BigEndian.Uint32(pkt)) }

// forward sends b.Pkt[i:j] out where r says.
func (e *Engine) forward(p *port, b *link.Burst, i, j int, r *Rule, bytes int) {
	if !e.meter.admit(b.Now, bytes) {
		e.refuse(p, DropLimit, CodeLimit, 0, r.label, j-i)
		return
	}
	next := r.hop.port.Load()
	if next == nil {
		e.refuse(p, DropLinkDown, CodeLinkDown, 0, r.label, j-i)
		return
	}
	// Under its direct label the next hop takes bare payloads as this visor's own: no
	// rule may lead there, whoever made it.
	if r.hop.label == next.out.DirectLabel() {
		e.refuse(p, DropDirect, CodeNoLabel, 0, r.label, j-i)
		return
	}
	mtu := next.out.MTU()
	for i < j {
		k := i
		for ; k < j && len(b.Pkt[k]) <= mtu; k++ {
			packet.PutLabel(b.Pkt[k], r.hop.label)
		}
		if k > i && next.out.Forward(b.Tx, b, i, k) != nil {
			e.refuse(p, DropRefused, CodeLinkDown, 0, r.label, k-i)
		}
		for i = k; i < j && len(b.Pkt[i]) > mtu; i++ {
		}
		if i > k {
			e.refuse(p, DropTooBig, CodeTooBig, mtu, r.label, i-k)
		}
	}
}

// refuse counts n dropped packets and tells the neighbour they came from; the link
// limits how often it does.
func (e *Engine) refuse(p *port, why DropReason, code uint8, mtu int, label packet.Label, n int) {
	e.drops.add(why, n)
	p.out.SendRouteError(code, mtu, label)
}

// sweepEvery is how often rules are looked at that are closed, or that neither probe
// nor reply has passed for their TTL.
const sweepEvery = time.Second

// expire removes what ran out by now, and tells the ends of routes.
func (e *Engine) expire(now time.Duration) {
	for _, expired := range e.sweep(now) {
		expired()
	}
}

// sweep returns who is to be told. A rule's time starts at the first sweep that sees
// it, so packet workers need no clock of ours.
func (e *Engine) sweep(now time.Duration) (tell []func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sweepReserved(now)
	for _, r := range e.rules {
		switch {
		case r.ttl == 0:
		case r.closed.Load():
			e.removeLocked(r)
			e.cfg.Log.Debug().Uint32("label", uint32(r.label)).Msg("rule closed")
		case r.expires == 0 || r.probed.Swap(false):
			r.expires = now + r.ttl
		case now > r.expires:
			e.removeLocked(r)
			e.cfg.Log.Debug().Uint32("label", uint32(r.label)).Msg("rule expired")
			if r.expired != nil {
				tell = append(tell, r.expired)
			}
		}
	}
	return tell
}
