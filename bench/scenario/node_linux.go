package scenario

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	daemon "github.com/skyminer/skywire/controlplane/visor"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/netstack"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// settleTime is the longest wait for a path's MTU. A path that carries no more than
// it carries at first uses all of it.
const settleTime = 2 * time.Second

// A nodeConfig describes a visor without apps and API.
type nodeConfig struct {
	Secret  cipher.SecKey
	Listen  string         // address for links of both types; "" dials only
	Links   []api.LinkSpec // to dial
	Rules   []api.Rule     // static, as in a visor's configuration
	Workers int            // 0: as the daemon chooses
	Mux     bool           // sessions spread what they send over all good routes
	// NoStreams leaves the stack of streams away: for peers by the hundred that only
	// keep links and sessions up. Nothing can be dialled then.
	NoStreams bool
}

// A node is the data plane of a visor, put together as the daemon does it, so that
// a benchmark can dial and listen from memory to memory.
type node struct {
	*netstack.Stack
	links    *link.Engine
	forward  *forward.Engine
	sessions *session.Manager

	stop context.CancelFunc
	done chan error // of links.Run
}

// startNode opens the sockets, sets the rules and dials the links. It does not wait
// for them, see settle. The caller closes the node.
func startNode(ctx context.Context, cfg nodeConfig) (_ *node, err error) {
	static, err := cipher.NewStaticKey(cfg.Secret)
	if err != nil {
		return nil, err
	}
	daemon.UseProcessors(cfg.Workers) // as the daemon does: it is this process's only visor
	lc := link.DefaultConfig()
	lc.Static, lc.UDP, lc.Workers = static, netip.AddrPortFrom(netip.IPv4Unspecified(), 0), cfg.Workers
	if cfg.Listen != "" {
		if lc.UDP, err = netip.ParseAddrPort(cfg.Listen); err != nil {
			return nil, err
		}
		lc.TCP = lc.UDP
	}
	n := &node{done: make(chan error, 1)}
	n.forward = forward.New(forward.Config{PubKey: static.PubKey(), Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	if n.links, err = link.New(lc, n.forward); err != nil {
		n.forward.Close()
		return nil, err
	}
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	go func() { n.done <- n.links.Run(ctx) }()
	network := &nodeNetwork{}
	var upper session.Upper = noStreams{}
	if !cfg.NoStreams {
		if n.Stack, err = netstack.New(netstack.Config{Network: network, PubKey: static.PubKey(), Log: zerolog.Nop()}); err != nil {
			return nil, err
		}
		upper = nodeUpper{n.Stack}
	}
	n.sessions, err = session.New(session.Config{
		Static: static, Links: n.links, Forward: n.forward, Upper: upper, Mux: cfg.Mux, Log: zerolog.Nop(),
	})
	if err != nil {
		return nil, err
	}
	network.manager = n.sessions
	return n, n.configure(cfg)
}

func (n *node) configure(cfg nodeConfig) error {
	for _, r := range cfg.Rules {
		in, out := forward.Neighbour{Peer: r.In.Link}, forward.Neighbour{Peer: r.Out.Link}
		inLabel, outLabel := packet.Label(r.In.Label), packet.Label(r.Out.Label)
		var err error
		if r.Peer == nil {
			_, err = n.forward.AddRule(forward.RuleSpec{In: in, InLabel: inLabel, Out: out, OutLabel: outLabel})
		} else {
			_, err = n.sessions.AddRoute(session.RouteSpec{Peer: *r.Peer, In: in, InLabel: inLabel, Out: out, OutLabel: outLabel})
		}
		if err != nil {
			return err
		}
	}
	for _, s := range cfg.Links {
		typ, err := link.ParseType(s.Type)
		if err != nil {
			return err
		}
		addr, err := netip.ParseAddrPort(s.Addr)
		if err != nil {
			return err
		}
		if _, err := n.links.AddLink(s.PK, typ, addr); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until all links are up and know their MTU.
func (n *node) settle(ctx context.Context) error {
	for _, l := range n.links.Links() {
		if err := l.WaitUp(ctx); err != nil {
			return err
		}
		if err := settleMTU(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// settleRoute waits until packets can go to peer and a route of several hops knows
// its MTU, which has to be probed after the links are up.
func (n *node) settleRoute(ctx context.Context, peer cipher.PubKey) error {
	if _, err := n.sessions.Dial(ctx, peer); err != nil {
		return err
	}
	deadline := time.Now().Add(settleTime)
	return poll(ctx, func() bool {
		for _, r := range n.sessions.Routes() {
			if r.Peer != peer || !r.InUse {
				continue
			}
			for _, l := range n.links.Links() {
				if l.Peer() == r.Out.Peer && r.MTU < l.MTU() {
					return time.Now().After(deadline) // a later hop is narrower
				}
			}
		}
		return true
	})
}

// Close resets all streams, tells the neighbours and returns when all has stopped.
func (n *node) Close() error {
	var errs []error
	if n.Stack != nil {
		errs = append(errs, n.Stack.Close())
	}
	n.stop()
	errs = append(errs, <-n.done)
	if n.sessions != nil {
		n.sessions.Close()
	}
	n.forward.Close()
	return errors.Join(errs...)
}

// poll calls f every 20 ms until it returns true or ctx ends.
func poll(ctx context.Context, f func() bool) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// nodeNetwork is the session manager as streams see it.
type nodeNetwork struct{ manager *session.Manager }

func (n *nodeNetwork) DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (netstack.Peer, error) {
	s, err := n.manager.DialClass(ctx, pk, class)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (n *nodeNetwork) Lookup(overlay [16]byte) (netstack.Peer, bool) {
	s, ok := n.manager.Lookup(overlay)
	if !ok {
		return nil, false
	}
	return s, true
}

// nodeUpper is the streams' floor as sessions see it.
type nodeUpper struct{ stack *netstack.Stack }

func (u nodeUpper) Deliver(from *session.Session, proto uint8, payloads [][]byte) {
	u.stack.Deliver(from, proto, payloads)
}
func (nodeUpper) SessionUp(*session.Session) {}
func (u nodeUpper) SessionDown(s *session.Session, err error) {
	u.stack.PeerGone(s.PubKey(), s.Class())
}

// noStreams takes nothing.
type noStreams struct{}

func (noStreams) Deliver(*session.Session, uint8, [][]byte) {}
func (noStreams) SessionUp(*session.Session)                {}
func (noStreams) SessionDown(*session.Session, error)       {}
