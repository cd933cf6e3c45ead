package setup

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// establishTimeout bounds Establish: two rounds at a node, and one node more.
	establishTimeout = 5 * time.Second
	// headStart is how long a setup node may think before the next one is asked as well.
	headStart = 300 * time.Millisecond
	// sulk is how long a setup node that failed is asked after the others.
	sulk = 30 * time.Second
)

// A ClientConfig describes a Client.
type ClientConfig struct {
	Key    *cipher.StaticKey
	Table  Table
	LinkUp func(forward.Neighbour) bool // LinksOf
	Nodes  []NodeAddr                   // SetNodes changes them
	Now    func() time.Time             // nil: time.Now
	Log    zerolog.Logger
}

// A NodeAddr is a setup node and the transport for dmsg URLs by which it is reached.
type NodeAddr struct {
	PK        cipher.PubKey
	Transport http.RoundTripper
}

// A Request says which route is wanted.
type Request struct {
	Path  []Step // from the first neighbour to the destination
	Class uint32
	Mux   bool // the destination too is to spread over the routes of this class
	// Turn makes a route that turns at the last step and leads back, to measure a path.
	Turn bool
	TTL  time.Duration // of each rule without a probe; 0: DefaultTTL
	// Not are setup nodes that are not to be asked.
	Not []cipher.PubKey
}

// A Route is what came of a Request: the labels that the source needs.
type Route struct {
	Node     cipher.PubKey // who set it up
	Out      forward.Neighbour
	OutLabel packet.Label // what Out gave out
	In       forward.Neighbour
	InLabel  packet.Label // reserved here: AddRoute or Release takes it
	TTL      time.Duration
}

// A Client asks setup nodes for routes. Its methods may be called concurrently.
type Client struct {
	cfg ClientConfig

	mu    sync.Mutex
	nodes []*nodeState
}

// A nodeState is a setup node and what is known about it.
type nodeState struct {
	NodeAddr
	skew   time.Duration // its clock less ours
	failed time.Time     // when it last failed
}

// NewClient returns a Client.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Key == nil || cfg.Table == nil || cfg.LinkUp == nil {
		return nil, errors.New("setup: a client needs Key, Table and LinkUp")
	}
	c := &Client{cfg: cfg}
	c.SetNodes(cfg.Nodes)
	return c, nil
}

// SetNodes replaces the setup nodes, in the order in which they are asked.
func (c *Client) SetNodes(nodes []NodeAddr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[cipher.PubKey]*nodeState{}
	for _, n := range c.nodes {
		known[n.PK] = n
	}
	c.nodes = nil
	for _, a := range nodes {
		n := &nodeState{NodeAddr: a}
		if k := known[a.PK]; k != nil {
			n.skew, n.failed = k.skew, k.failed
		}
		c.nodes = append(c.nodes, n)
	}
}

// Warm opens streams to the setup nodes, so that the next Establish finds them open,
// and has them open one to this visor. It returns when all have answered or ctx has
// ended, within 5 s.
func (c *Client) Warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, n := range c.candidates(nil) {
		wg.Go(func() {
			if bad := call(ctx, n.Transport, n.PK, NodePort, pathHello, &none{}, &none{}); bad != nil {
				c.cfg.Log.Debug().Stringer("node", n.PK).Err(bad).Msg("setup node does not answer")
			}
		})
	}
	wg.Wait()
}

// candidates returns the nodes that may be asked, those that failed of late last.
func (c *Client) candidates(not []cipher.PubKey) []*nodeState {
	excluded := map[cipher.PubKey]bool{}
	for _, pk := range not {
		excluded[pk] = true
	}
	now := c.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var good, bad []*nodeState
	for _, n := range c.nodes {
		switch {
		case excluded[n.PK]:
		case !n.failed.IsZero() && now.Sub(n.failed) < sulk:
			bad = append(bad, n)
		default:
			good = append(good, n)
		}
	}
	return append(good, bad...)
}

// Establish has the route made, within 5 s: it asks the setup nodes in turn, the next
// one where one refuses or has not answered for 300 ms, and takes the first answer. What
// slower ones have begun they take back, or it expires. That the path is at fault is
// believed when two say so, or all there are.
//
// Errors: *Error, with the visor where it failed; ErrNoNode; those of ctx.
func (c *Client) Establish(ctx context.Context, req Request) (Route, error) {
	if err := c.validate(&req); err != nil {
		return Route{}, err
	}
	first := forward.Neighbour{Peer: req.Path[0].PK, Type: req.Path[0].Type}
	if !c.cfg.LinkUp(first) {
		bad := noLink(toWire(first))
		bad.At = c.cfg.Key.PubKey()
		return Route{}, bad
	}
	nodes := c.candidates(req.Not)
	if len(nodes) == 0 {
		return Route{}, ErrNoNode
	}
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	r := race{c: c, req: &req, results: make(chan result)}
	route, err := r.run(ctx, nodes)
	cancel()
	r.finish()
	return route, err
}

func (c *Client) validate(req *Request) error {
	if len(req.Path) < 1 || len(req.Path) > MaxHops {
		return refuse(CodeBadRequest, "a path of %d hops; want 1 to %d", len(req.Path), MaxHops)
	}
	seen := map[cipher.PubKey]bool{c.cfg.Key.PubKey(): true}
	for _, s := range req.Path {
		if seen[s.PK] {
			return refuse(CodeBadRequest, "%s is on the path twice", s.PK)
		}
		seen[s.PK] = true
	}
	if req.TTL <= 0 {
		req.TTL = DefaultTTL
	}
	return nil
}

// ask has one node make the route. Where it says that our clock is wrong, it is asked
// once more by its own.
func (c *Client) ask(ctx context.Context, n *nodeState, req *Request) (Route, *Error) {
	out, bad := c.askOnce(ctx, n, req)
	if bad != nil && bad.Code == CodeClock && bad.At.IsZero() && !bad.Time.IsZero() {
		c.mu.Lock()
		n.skew = bad.Time.Sub(c.cfg.Now())
		c.mu.Unlock()
		c.cfg.Log.Warn().Stringer("node", n.PK).Dur("apart", n.skew).Msg("our clock and the setup node's differ: set the clock")
		out, bad = c.askOnce(ctx, n, req)
	}
	if bad == nil {
		c.note(n, time.Time{})
		return out, nil
	}
	bad.Node = n.PK
	if !bad.OfPath() { // or it was too slow
		c.note(n, c.cfg.Now())
	}
	return Route{}, bad
}

func (c *Client) note(n *nodeState, failed time.Time) {
	c.mu.Lock()
	n.failed = failed
	c.mu.Unlock()
}

func (c *Client) askOnce(ctx context.Context, n *nodeState, req *Request) (Route, *Error) {
	in := forward.Neighbour{Peer: req.Path[0].PK, Type: req.Path[0].Type}
	inLabel, err := c.cfg.Table.Reserve(in, reservation)
	if err != nil {
		return Route{}, refuse(CodeQuota, "this visor has no label left: %v", err)
	}
	wire, err := c.request(n, req)
	if err != nil {
		c.cfg.Table.Release(inLabel)
		return Route{}, refuse(CodeInternal, "cannot sign: %v", err)
	}
	wire.InLabel = label(inLabel)
	var out routeReply
	bad := call(ctx, n.Transport, n.PK, NodePort, pathRoute, wire, &out)
	if bad == nil && out.OutLabel == 0 {
		bad = refuse(CodeInternal, "an answer without a label")
	}
	if bad != nil {
		c.cfg.Table.Release(inLabel)
		return Route{}, bad
	}
	return Route{Node: n.PK, Out: in, OutLabel: packet.Label(out.OutLabel), In: in, InLabel: inLabel, TTL: req.TTL}, nil
}

// request signs what is wanted of node n.
func (c *Client) request(n *nodeState, req *Request) (*routeRequest, error) {
	c.mu.Lock()
	skew := n.skew
	c.mu.Unlock()
	wire := &routeRequest{Salt: newNonce()}
	for _, s := range req.Path {
		wire.Path = append(wire.Path, neighbour{s.PK, linkType(s.Type)})
	}
	s := statement{
		Source: c.cfg.Key.PubKey(), Destination: req.Path[len(req.Path)-1].PK, Node: n.PK,
		Class: int64(req.Class), Mux: req.Mux, TTL: millis(req.TTL),
		Time: c.cfg.Now().Add(skew).UnixMilli(), Nonce: newNonce(), Path: hashPath(wire.Path, wire.Salt),
	}
	if req.Turn {
		s.Destination = s.Source
	}
	var err error
	wire.Signed, wire.Signature, err = s.sign(c.cfg.Key)
	return wire, err
}
