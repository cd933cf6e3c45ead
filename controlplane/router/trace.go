package router

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

const (
	// traceTimeout bounds Trace.
	traceTimeout = 10 * time.Second
	// Each prefix is measured with so many packets, and takes the quickest; one that
	// does not come back is given up after probeTimeout.
	traceProbes  = 3
	probeTimeout = time.Second
	// traceTTL is how long the rules of a traced prefix live.
	traceTTL = 20 * time.Second
	// probeBody is the length of what a session's own probe carries: counter, proto,
	// token and tag (docs/wire.md section 5.4), so that hops see the like of it.
	probeBody = 8 + 1 + 8 + 16
)

// A HopRTT is a hop of a route as Trace found it.
type HopRTT struct {
	PK  cipher.PubKey
	RTT time.Duration // there and back; 0: see Err
	Err error
}

// ErrNoRoute says that there is no way to a peer that could be traced.
var ErrNoRoute = errors.New("router: there is no way to that visor now: dial it first")

// Trace measures each hop of the way to pk that streams of a class take, see [Router.Ensure],
// within 10 s. For each visor on it, it has a route made that leads there by the same path and turns; a visor learns
// that it is the one where a route turns, and not whose.
//
// Of a direct link it returns the RTT that is known. Errors: ErrNoRoute; those of ctx.
func (r *Router) Trace(ctx context.Context, pk cipher.PubKey, class uint32) ([]HopRTT, error) {
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	defer cancel()
	member, path, direct, err := r.wayTo(pk, class)
	if err != nil || path == nil {
		return direct, err
	}
	out := make([]HopRTT, len(path))
	var wg sync.WaitGroup
	for i := range path {
		wg.Go(func() {
			out[i] = HopRTT{PK: path[i].PK}
			out[i].RTT, out[i].Err = r.measure(ctx, member, path[:i+1])
		})
	}
	wg.Wait()
	return out, nil
}

// wayTo returns the path of a route of a class to pk: one that is in use before others,
// one of the Router's before a direct link.
func (r *Router) wayTo(pk cipher.PubKey, class uint32) (m Member, path []setup.Step, direct []HopRTT, err error) {
	infos := r.cfg.Sessions.Routes()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, inUse := range []bool{true, false} {
		for _, in := range infos {
			k := r.byRoute[in.ID]
			if k == nil || in.Peer != pk || in.Class != class || in.InUse != inUse || in.State == session.StateDead {
				continue
			}
			for _, m := range r.joined {
				if m.Name != k.deployment {
					continue
				}
				for _, h := range k.hops {
					path = append(path, setup.Step{PK: h.To})
				}
				return m, path, nil, nil
			}
		}
	}
	for _, in := range infos {
		if in.Direct && in.Peer == pk && class == 0 && in.State == session.StateUp {
			return m, nil, []HopRTT{{PK: pk, RTT: in.RTT}}, nil
		}
	}
	return m, nil, nil, fmt.Errorf("%w: %s", ErrNoRoute, pk)
}

// measure makes a route that turns at the end of path and sends packets around it.
func (r *Router) measure(ctx context.Context, m Member, path []setup.Step) (time.Duration, error) {
	route, err := m.Setup.Establish(ctx, setup.Request{Path: path, Turn: true, TTL: traceTTL})
	if err != nil {
		return 0, err
	}
	e := &echo{back: make(chan int64, 1)}
	rule, err := r.cfg.Forward.AddDeliver(forward.DeliverSpec{In: route.In, Label: route.InLabel, TTL: route.TTL, Sink: e})
	if err != nil {
		return 0, fmt.Errorf("router: %w", err)
	}
	defer func() { _ = r.cfg.Forward.RemoveRule(rule.Label()) }()
	out, err := r.cfg.Forward.AddEgress(route.Out, route.OutLabel, e)
	if err != nil {
		return 0, fmt.Errorf("router: %w", err)
	}
	defer func() {
		r.closeLoop(out)
		r.cfg.Forward.RemoveEgress(out)
	}()
	best := time.Duration(0)
	for range traceProbes {
		rtt, err := r.probe(ctx, e, out)
		if err != nil {
			return 0, err
		}
		if best == 0 || rtt > 0 && rtt < best {
			best = rtt
		}
	}
	if best == 0 {
		return 0, errors.New("router: no packet came back")
	}
	return best, nil
}

// probe sends one packet around and returns how long it took, 0 if it did not come
// back.
func (r *Router) probe(ctx context.Context, e *echo, out *forward.Egress) (time.Duration, error) {
	l := out.Link()
	if l == nil {
		return 0, link.ErrDown
	}
	var body [probeBody]byte
	rand.Read(body[:]) // never fails
	e.body.Store(&body)
	tx := r.cfg.Links.GetTx()
	tx.Start(l)
	p := tx.Packet(packet.Padded(probeBody))
	clear(p)
	packet.RouteHeader{Label: out.Label(), Kind: packet.KindProbe, Length: probeBody}.Put(p)
	copy(p[packet.RouteHeaderLen:], body[:])
	sent := r.cfg.Links.Now()
	err := tx.Flush()
	r.cfg.Links.PutTx(tx)
	if err != nil {
		return 0, err
	}
	lost := time.NewTimer(probeTimeout)
	defer lost.Stop()
	select {
	case at := <-e.back:
		return max(1, time.Duration(at-sent)), nil
	case <-lost.C:
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// closeLoop has the hops forget the way around, as a session does with its routes; if
// that is lost, their TTL does it.
func (r *Router) closeLoop(out *forward.Egress) {
	l := out.Link()
	if l == nil {
		return
	}
	tx := r.cfg.Links.GetTx()
	defer r.cfg.Links.PutTx(tx)
	tx.Start(l)
	p := tx.Packet(packet.Padded(1))
	clear(p)
	packet.RouteHeader{Label: out.Label(), Kind: packet.KindClose, Length: 1}.Put(p)
	p[packet.RouteHeaderLen] = link.CloseRemoved
	_ = tx.Flush()
}

// An echo takes what comes back. What its packets carry means nothing to anybody else:
// it looks sealed.
type echo struct {
	body atomic.Pointer[[probeBody]byte] // of the last packet sent
	back chan int64                      // when, on the engine's clock
}

// Receive implements forward.Sink.
func (e *echo) Receive(b *link.Burst, i, j int, _ *forward.Rule) {
	want := e.body.Load()
	for _, pkt := range b.Pkt[i:j] {
		if h, body, ok := packet.ParseRoute(pkt); ok && h.Kind == packet.KindProbe && want != nil && bytes.Equal(body, want[:]) {
			select {
			case e.back <- b.Now:
			default:
			}
		}
	}
}

// RouteError implements forward.Origin: a packet that is lost shows soon enough.
func (e *echo) RouteError(uint8, int) {}
