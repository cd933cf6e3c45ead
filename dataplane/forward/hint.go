package forward

import (
	"context"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// maxHints bounds the route errors that wait. A neighbour may send at most 50 each
// second, and one that sends more only displaces what nobody relies on.
const maxHints = 256

// A hint is a route error, docs/wire.md section 4.3.
type hint struct {
	from  *link.Link
	code  uint8
	mtu   int
	label packet.Label
}

// RouteError takes a neighbour's hint, which may come on a packet worker: to find whom
// it concerns needs the engine's lock, so that is left to the engine's goroutine. See
// link.Handler.
func (e *Engine) RouteError(l *link.Link, code uint8, mtu int, label packet.Label) {
	select {
	case e.hints <- hint{l, code, mtu, label}:
	default:
		e.drops.add(DropHint, 1)
	}
}

// passOn gives h to whoever is one hop nearer to the beginning of the route: a
// neighbour, or the session floor if the route begins here.
func (e *Engine) passOn(h hint) {
	v, ok := e.links.Load(h.from)
	if !ok {
		return
	}
	p := v.(*port)
	e.mu.Lock()
	g := e.ports.egress[p.peer][h.label]
	var back *port
	if g != nil && g.rule != nil {
		if back = g.rule.lastIn.Load(); back == nil || !back.up {
			back = e.ports.best(g.rule.in)
		}
	}
	e.mu.Unlock()
	switch {
	case g == nil || g.port.Load() != p: // not ours, or not sent there any more
	case g.origin != nil:
		g.origin.RouteError(h.code, h.mtu)
	case back != nil:
		back.out.SendRouteError(h.code, h.mtu, g.rule.label)
	}
}

// run is the engine's goroutine: it passes hints on and sweeps.
func (e *Engine) run(ctx context.Context) {
	defer close(e.ended)
	start := time.Now()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-e.hints:
			e.passOn(h)
		case <-tick.C:
			e.expire(time.Since(start))
		}
	}
}
