package setup

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// roundTimeout is what a visor has for an answer in each of the two rounds, and in
	// the one that takes back.
	roundTimeout = 2 * time.Second
	// warming is how many streams a node opens at once to those who say that they are
	// there, and warmed how many in warmPeriod, which is as long as they stay open unused:
	// each takes some 150 KiB.
	warming    = 16
	warmed     = 256
	warmPeriod = 90 * time.Second
)

// A NodeConfig describes a Node.
type NodeConfig struct {
	Key cipher.PubKey // this node, as its dmsg client has it
	// Transport makes requests for dmsg URLs (dmsghttp.NewTransport) and keeps its
	// streams for the next ones.
	Transport http.RoundTripper
	Limits    NodeLimits
	Now       func() time.Time // nil: time.Now
	Log       zerolog.Logger
}

// NodeLimits bound what one source may ask of a Node.
type NodeLimits struct {
	Rate       float64 // routes per second
	Burst      int     // routes at once, before Rate counts
	Concurrent int     // set-ups under way
	Sources    int     // sources remembered
}

// DefaultNodeLimits are generous to a visor and stop a flood.
func DefaultNodeLimits() NodeLimits {
	return NodeLimits{Rate: 100, Burst: 1000, Concurrent: 32, Sources: 1 << 16}
}

// Validate reports all that is missing in c.
func (c *NodeConfig) Validate() error {
	var faults []error
	if c.Key.IsZero() || c.Transport == nil {
		faults = append(faults, errors.New("setup: a node needs Key and Transport"))
	}
	if l := c.Limits; l.Rate <= 0 || l.Burst <= 0 || l.Concurrent <= 0 || l.Sources <= 0 {
		faults = append(faults, errors.New("setup: the limits of a node must be above 0; DefaultNodeLimits has some"))
	}
	return errors.Join(faults...)
}

// A Node is a setup node. It keeps nothing about routes that are made, and its log names
// no source and no path. Its methods may be called concurrently.
type Node struct {
	cfg    NodeConfig
	quota  *quota
	replay *replayGuard
	mux    *http.ServeMux
	warm   chan struct{} // a place for each stream that is being opened ahead

	warmMu    sync.Mutex
	warmSince time.Time
	warmCount int // since then

	background sync.WaitGroup // what is taken back after an answer
}

// NewNode returns a Node that answers through Handler or Serve.
func NewNode(cfg NodeConfig) (*Node, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, quota: newQuota(cfg.Limits), replay: newReplayGuard(), mux: http.NewServeMux(), warm: make(chan struct{}, warming)}
	n.mux.HandleFunc("POST "+pathRoute, answer(n.route))
	n.mux.HandleFunc("POST "+pathHello, answer(n.hello))
	n.mux.HandleFunc("GET "+pathHealth, health)
	return n, nil
}

// Handler serves requests whose RemoteAddr is the proven "<pk>:<port>" of the caller,
// as dmsg listeners have it.
func (n *Node) Handler() http.Handler { return n.mux }

// Serve answers on ln, a dmsg listener on NodePort, until ctx ends, and returns when
// nothing of it runs any more. It may run for several listeners.
func (n *Node) Serve(ctx context.Context, ln net.Listener) error {
	defer n.background.Wait()
	return serve(ctx, n.door(ln), n.mux)
}

// hello opens a stream to a visor that may soon be on a path: what the first route
// would have to wait for.
func (n *Node) hello(_ context.Context, from cipher.PubKey, _ *none) (none, *Error) {
	if !n.mayWarm() {
		return none{}, nil
	}
	select {
	case n.warm <- struct{}{}:
	default:
		return none{}, nil // enough to do
	}
	n.background.Go(func() {
		defer func() { <-n.warm }()
		ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
		defer cancel()
		_ = exchange(ctx, n.cfg.Transport, http.MethodGet, from, HopPort, pathHealth, nil, &none{}) // it serves no purpose but to be open
	})
	return none{}, nil
}

// mayWarm counts one more stream opened ahead, if there are not too many.
func (n *Node) mayWarm() bool {
	n.warmMu.Lock()
	defer n.warmMu.Unlock()
	if now := n.cfg.Now(); now.Sub(n.warmSince) >= warmPeriod {
		n.warmSince, n.warmCount = now, 0
	}
	n.warmCount++
	return n.warmCount <= warmed
}

// route makes the route that the caller asks for.
func (n *Node) route(ctx context.Context, from cipher.PubKey, in *routeRequest) (routeReply, *Error) {
	now := n.cfg.Now()
	if !n.quota.start(from, now) {
		return routeReply{}, refuse(CodeQuota, "too many routes are asked for; try again in a second")
	}
	s, bad := n.check(from, in, now)
	if bad != nil {
		n.quota.done(from)
		return routeReply{}, bad
	}
	j := newJob(n, s, in)
	began := time.Now()
	out, bad := j.run(ctx)
	if bad == nil && ctx.Err() != nil {
		bad = refuse(CodeUnreachable, "the source has gone away")
	}
	if bad == nil {
		n.quota.done(from)
		if e := n.cfg.Log.Debug(); e.Enabled() {
			e.Int("hops", len(in.Path)).Dur("took", time.Since(began)).Msg("route set up")
		}
		return routeReply{out}, nil
	}
	// The source need not wait for what is taken back, but it counts as under way.
	n.background.Go(func() {
		defer n.quota.done(from)
		j.rollBack()
	})
	if e := n.cfg.Log.Debug(); e.Enabled() {
		e.Str("code", string(bad.Code)).Msg("route not set up")
	}
	return routeReply{}, bad
}

// check says whether a request is the source's, new, and makes sense.
func (n *Node) check(from cipher.PubKey, in *routeRequest, now time.Time) (*statement, *Error) {
	s, err := parseStatement(in.Signed)
	if err != nil {
		return nil, refuse(CodeBadRequest, "%v", err)
	}
	switch {
	case s.Source != from:
		return nil, refuse(CodeForbidden, "the statement's source is %s, the caller %s: nobody asks for another's routes", s.Source, from)
	case s.Node != n.cfg.Key:
		return nil, refuse(CodeForbidden, "the statement is for setup node %s", s.Node)
	case !s.fresh(now):
		return nil, clockError(&s, now)
	case len(in.Path) < 1 || len(in.Path) > MaxHops:
		return nil, refuse(CodeBadRequest, "the path has %d hops; want 1 to %d", len(in.Path), MaxHops)
	case in.InLabel == 0:
		return nil, refuse(CodeBadRequest, "in_label is missing")
	case hashPath(in.Path, in.Salt) != s.Path:
		return nil, refuse(CodeSignature, "the path is not the one that was signed")
	case !s.turns() && in.Path[len(in.Path)-1].PK != s.Destination:
		return nil, refuse(CodeBadRequest, "the path does not lead to the destination")
	}
	seen := map[cipher.PubKey]bool{s.Source: true}
	for i, step := range in.Path {
		if seen[step.PK] {
			return nil, refuse(CodeBadRequest, "path[%d]: %s is on the path twice", i, step.PK)
		}
		seen[step.PK] = true
		if err := step.PK.Validate(); err != nil {
			return nil, refuse(CodeBadRequest, "path[%d]: %v", i, err)
		}
	}
	if err := s.verify(in.Signed, in.Signature); err != nil {
		return nil, refuse(CodeSignature, "the statement is not signed by its source: %v", err)
	}
	return &s, n.replay.check(&s, now)
}
