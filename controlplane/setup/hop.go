package setup

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// reservation is how long labels stay reserved: both rounds and some patience.
const reservation = 10 * time.Second

// A HopConfig describes a Hop.
type HopConfig struct {
	Key      cipher.PubKey // this visor
	Table    Table
	Sessions Sessions
	LinkUp   func(forward.Neighbour) bool // LinksOf
	Nodes    []cipher.PubKey              // setup nodes that are obeyed; SetNodes changes them
	Limits   HopLimits
	Now      func() time.Time // nil: time.Now
	Log      zerolog.Logger
}

// HopLimits bound what one setup node may do at a Hop.
type HopLimits struct {
	Labels   int           // labels given out, reserved and in use
	Reserved int           // of these, labels that are reserved only
	Source   int           // routes of one source that end here
	MaxTTL   time.Duration // of rules without a probe
}

// DefaultHopLimits let one node have 4096 routes through a visor.
func DefaultHopLimits() HopLimits {
	return HopLimits{Labels: 8192, Reserved: 1024, Source: 64, MaxTTL: MaxTTL}
}

// Validate reports all that is missing in c.
func (c *HopConfig) Validate() error {
	var faults []error
	if c.Key.IsZero() {
		faults = append(faults, errors.New("setup: a hop needs its visor's key"))
	}
	if c.Table == nil || c.Sessions == nil || c.LinkUp == nil {
		faults = append(faults, errors.New("setup: a hop needs Table, Sessions and LinkUp"))
	}
	if c.Limits.Labels <= 0 || c.Limits.Reserved <= 0 || c.Limits.Source <= 0 || c.Limits.MaxTTL <= 0 {
		faults = append(faults, errors.New("setup: the limits of a hop must be above 0; DefaultHopLimits has some"))
	}
	return errors.Join(faults...)
}

// A Hop is a visor's side of route set-up. Its methods may be called concurrently.
type Hop struct {
	cfg     HopConfig
	trusted atomic.Pointer[map[cipher.PubKey]bool]
	replay  *replayGuard
	mux     *http.ServeMux

	mu    sync.Mutex
	books map[cipher.PubKey]*book // by setup node; those of nodes that were trusted once stay
}

// NewHop returns a Hop that answers through Handler or Serve.
func NewHop(cfg HopConfig) (*Hop, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Hop{cfg: cfg, replay: newReplayGuard(), mux: http.NewServeMux(), books: map[cipher.PubKey]*book{}}
	h.SetNodes(cfg.Nodes)
	h.mux.HandleFunc("POST "+pathReserve, h.obey(answer(withBook(h, h.reserve))))
	h.mux.HandleFunc("POST "+pathInstall, h.obey(answer(withBook(h, h.install))))
	h.mux.HandleFunc("POST "+pathAccept, h.obey(answer(withBook(h, h.accept))))
	h.mux.HandleFunc("POST "+pathRelease, h.obey(answer(withBook(h, h.release))))
	h.mux.HandleFunc("GET "+pathHealth, health)
	return h, nil
}

// SetNodes replaces the setup nodes that are obeyed. What others installed stays until
// it expires.
func (h *Hop) SetNodes(nodes []cipher.PubKey) {
	m := make(map[cipher.PubKey]bool, len(nodes))
	for _, pk := range nodes {
		m[pk] = true
	}
	h.trusted.Store(&m)
}

// Handler serves requests whose RemoteAddr is the proven "<pk>:<port>" of the caller,
// as dmsg listeners have it.
func (h *Hop) Handler() http.Handler { return h.mux }

// Serve answers on ln, a dmsg listener on HopPort, until ctx ends. It may run for
// several listeners.
func (h *Hop) Serve(ctx context.Context, ln net.Listener) error { return serve(ctx, h.door(ln), h.mux) }

// obey lets setup nodes of the configuration through to f, and nobody else, before
// anything is read of what they send.
func (h *Hop) obey(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := proto.ParseAddr(r.RemoteAddr, 0)
		if err != nil || !(*h.trusted.Load())[from.PK] {
			w.Header().Set("Connection", "close") // a stranger's stream is not kept
			bad := refuse(CodeForbidden, "setup node %s is not among the route_setup_nodes of this visor", from.PK)
			reply(w, bad.Code.status(), bad.wire())
			return
		}
		f(w, r)
	}
}

// withBook gives f the book of the setup node that calls.
func withBook[In, Out any](h *Hop, f func(from *book, in *In) (Out, *Error)) func(context.Context, cipher.PubKey, *In) (Out, *Error) {
	return func(_ context.Context, from cipher.PubKey, in *In) (Out, *Error) { return f(h.book(from), in) }
}

// book returns the book of a setup node that is trusted; there are few.
func (h *Hop) book(node cipher.PubKey) *book {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.books[node]
	if b == nil {
		b = &book{node: node, entries: map[packet.Label]entry{}, sources: map[cipher.PubKey]int{}}
		h.books[node] = b
	}
	return b
}

// reserve gives out a label for packets from each neighbour that is asked for: one at
// the end of a route, two in the middle.
func (h *Hop) reserve(from *book, in *reserveRequest) (out reserveReply, bad *Error) {
	if len(in.From) < 1 || len(in.From) > 2 {
		return out, refuse(CodeBadRequest, "from names %d neighbours; want one or two", len(in.From))
	}
	for _, n := range in.From {
		if n.PK == h.cfg.Key {
			return out, refuse(CodeBadRequest, "a visor is not its own neighbour")
		}
		if !h.cfg.LinkUp(n.forward()) {
			return out, noLink(n)
		}
	}
	now := h.cfg.Now()
	from.mu.Lock()
	defer from.mu.Unlock()
	if !from.room(len(in.From), now, h.cfg.Limits, h.cfg.Table) {
		return out, refuse(CodeQuota, "setup node %s has as many labels here as one node may have; try again in a while, or another node", from.node)
	}
	for _, n := range in.From {
		l, err := h.cfg.Table.Reserve(n.forward(), reservation)
		if err != nil {
			for _, l := range out.Labels {
				from.free(packet.Label(l), h.cfg.Table, h.cfg.Sessions)
			}
			return reserveReply{}, refusal(err)
		}
		from.set(l, entry{until: now.Add(reservation)})
		out.Labels = append(out.Labels, label(l))
	}
	return out, nil
}

func noLink(n neighbour) *Error {
	e := refuse(CodeNoLink, "has no link that is up to %s", n.forward())
	e.Neighbour = n.PK
	return e
}

// install makes the two rules of a visor in the middle, or the one where a route turns.
func (h *Hop) install(from *book, in *installRequest) (none, *Error) {
	life, err := ttl(in.TTL, h.cfg.Limits.MaxTTL)
	if err != nil {
		return none{}, refuse(CodeBadRequest, "%v", err)
	}
	if len(in.Rules) < 1 || len(in.Rules) > 2 {
		return none{}, refuse(CodeBadRequest, "%d rules; want two, or one that turns", len(in.Rules))
	}
	turn := len(in.Rules) == 1
	from.mu.Lock()
	defer from.mu.Unlock()
	for i, r := range in.Rules {
		if (r.In.PK == r.Out.PK) != turn {
			return none{}, refuse(CodeBadRequest, "rules[%d]: only a rule alone may lead back to where it comes from, and has to", i)
		}
		if !from.reserved(packet.Label(r.InLabel)) {
			return none{}, refuse(CodeBadRequest, "rules[%d]: label %08x is not reserved, or no longer", i, uint32(r.InLabel))
		}
	}
	for i, r := range in.Rules {
		_, err := h.cfg.Table.AddRule(forward.RuleSpec{
			In: r.In.forward(), InLabel: packet.Label(r.InLabel),
			Out: r.Out.forward(), OutLabel: packet.Label(r.OutLabel),
			TTL: life, Turn: turn,
		})
		if err != nil {
			for _, done := range in.Rules[:i] {
				from.free(packet.Label(done.InLabel), h.cfg.Table, h.cfg.Sessions)
			}
			return none{}, refusal(err)
		}
		from.set(packet.Label(r.InLabel), entry{kind: ofRule})
	}
	return none{}, nil
}

// accept makes this visor's end of a route that the source has asked for.
func (h *Hop) accept(from *book, in *acceptRequest) (none, *Error) {
	now := h.cfg.Now()
	s, bad := h.checkStatement(from.node, in, now)
	if bad != nil {
		return none{}, bad
	}
	life, err := ttl(s.TTL, h.cfg.Limits.MaxTTL)
	if err != nil {
		return none{}, refuse(CodeBadRequest, "%v", err)
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	if !from.reserved(packet.Label(in.InLabel)) {
		return none{}, refuse(CodeBadRequest, "label %08x is not reserved, or no longer", uint32(in.InLabel))
	}
	if !from.admits(s.Source, now, h.cfg.Limits, h.cfg.Table) {
		return none{}, refuse(CodeQuota, "%d routes of this source end here already; drop some, or let them expire", h.cfg.Limits.Source)
	}
	n := in.Neighbour.forward()
	info, err := h.cfg.Sessions.AddRoute(session.RouteSpec{
		Peer: s.Source, Class: uint32(s.Class), Answer: true, TTL: life,
		Out: n, OutLabel: packet.Label(in.OutLabel),
		In: n, InLabel: packet.Label(in.InLabel),
	})
	if err != nil {
		return none{}, refusal(err)
	}
	h.cfg.Sessions.SetMux(s.Source, uint32(s.Class), s.Mux)
	from.set(packet.Label(in.InLabel), entry{kind: ofRoute, route: info.ID, source: s.Source})
	if e := h.cfg.Log.Debug(); e.Enabled() {
		e.Stringer("source", s.Source).Stringer("neighbour", n.Peer).Int64("class", s.Class).Msg("route accepted")
	}
	return none{}, nil
}

// checkStatement reads the statement that a setup node brings and says whether it means
// this visor and that node, is fresh, new and the source's.
func (h *Hop) checkStatement(node cipher.PubKey, in *acceptRequest, now time.Time) (*statement, *Error) {
	s, err := parseStatement(in.Signed)
	if err != nil {
		return nil, refuse(CodeBadRequest, "%v", err)
	}
	switch {
	case s.Destination != h.cfg.Key || s.turns():
		return nil, refuse(CodeForbidden, "the statement is for another destination")
	case s.Node != node:
		return nil, refuse(CodeForbidden, "the statement is for another setup node")
	case !s.fresh(now):
		return nil, clockError(&s, now)
	}
	if err := s.verify(in.Signed, in.Signature); err != nil {
		return nil, refuse(CodeSignature, "the statement is not signed by its source: %v", err)
	}
	return &s, h.replay.check(&s, now)
}

// release takes back what the same setup node had made.
func (h *Hop) release(from *book, in *releaseRequest) (none, *Error) {
	if len(in.Labels) > 2 {
		return none{}, refuse(CodeBadRequest, "%d labels; want at most two", len(in.Labels))
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	for _, l := range in.Labels {
		from.free(packet.Label(l), h.cfg.Table, h.cfg.Sessions)
	}
	return none{}, nil
}

// refusal says what a floor's error means to a setup node.
func refusal(err error) *Error {
	switch {
	case errors.Is(err, forward.ErrTransitOff), errors.Is(err, forward.ErrTooManyRules):
		return refuse(CodeTransit, "%v", err)
	case errors.Is(err, forward.ErrNoLabel):
		return refuse(CodeQuota, "%v", err)
	}
	return refuse(CodeBadRequest, "%v", err)
}
