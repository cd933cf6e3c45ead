package visor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/controlplane/router"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/transport"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/session"
)

// A network is what makes the visor find others by itself: its dmsg networks and, where
// it is in deployments, transports and routes. The zero value is a visor that only does
// what it is told by hand.
//
// It comes before the data plane, whose configuration names its hooks, is given the
// data plane by attach, and works while run runs.
type network struct {
	dmsg    dmsgNets // all, the section's included
	section *dmsgNet // of the section "dmsg", or nil

	members    []*member
	self       deployment.Instance
	transports *transport.Manager // nil without members
	router     *router.Router     // nil without members; set by attach
	hop        *setup.Hop         // likewise
	admits     atomic.Pointer[admission]
	relay      *ownRelay // nil where the visor runs none
	version    string
	log        zerolog.Logger
}

// newNetwork makes what the configuration asks for. It is owed a run or a close.
func newNetwork(opt *Options) (*network, error) {
	n := &network{self: deployment.NewInstance(time.Now()), version: opt.Version, log: opt.Log}
	n.admits.Store(newAdmission(&opt.Config))
	if err := n.join(opt); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *network) join(opt *Options) (err error) {
	c := &opt.Config
	if n.relay, err = newOwnRelay(opt); err != nil {
		return err
	}
	budget := yamux.NewBudget(dmsg.DefaultBudget())
	if c.Dmsg != nil {
		spec := sectionDmsg(c.Dmsg)
		spec.budget, spec.dialer = budget, relayDialer(c.DmsgServer)
		if n.section, err = newDmsg(opt, spec); err != nil {
			return err
		}
		n.dmsg = append(n.dmsg, n.section)
	}
	for i := range c.Deployments {
		m, err := newMember(opt, i, budget)
		if err != nil {
			return err
		}
		n.members = append(n.members, m)
		n.dmsg = append(n.dmsg, m.dmsg)
	}
	if len(n.members) == 0 {
		return nil
	}
	cfg := transport.Config{
		SecKey: opt.SecretKey, Instance: n.self, Version: opt.Version, Settings: settings(c),
		Accept: func(pk cipher.PubKey) bool { return n.admits.Load().candidates(pk) },
		NetworkChanged: func() {
			for _, m := range n.members {
				m.hangUp()
			}
		},
		Log: opt.Log.With().Str("part", "transport").Logger(),
	}
	for _, m := range n.members {
		cfg.Members = append(cfg.Members, m.transport(func() bool { return n.admits.Load().everybody }))
	}
	n.transports, err = transport.New(cfg)
	return err
}

// settings translates what may change while the manager runs.
func settings(c *config.Config) transport.Settings {
	t := &c.Transport
	s := transport.Settings{Auto: t.Auto, Public: t.Public, NoUpgrade: t.NoUpgrade, Table: map[cipher.PubKey]string{}}
	for _, p := range t.Persistent {
		s.Persistent = append(s.Persistent, transport.Wanted(p))
	}
	for _, p := range t.Table {
		s.Table[p.PK] = p.Addr
	}
	return s
}

// close leaves all networks, where run has not.
func (n *network) close() {
	n.dmsg.close()
	for _, m := range n.members {
		m.http.CloseIdleConnections()
	}
	if n.relay != nil {
		n.relay.close()
	}
}

// hooks sets in the data plane's configuration what the network wants to hear.
func (n *network) hooks(lc *link.Config) {
	if len(n.dmsg) > 0 {
		lc.Streams = n.dmsg.open
	}
	if n.transports != nil {
		lc.STUN, lc.OnLink = n.transports.HandleSTUN, n.transports.OnLink
	}
}

// wants says whether the network has, or tries to have, a transport to pk of its own
// account: then pk stays welcome whatever an operator does with links by hand.
func (n *network) wants(pk cipher.PubKey) bool {
	return n.transports != nil && slices.ContainsFunc(n.transports.List(), func(i transport.Info) bool { return i.PK == pk && !i.Inbound })
}

// onRoute is for session.Config.OnRoute.
func (n *network) onRoute(info session.RouteInfo, ev session.RouteEvent) {
	if n.router != nil {
		n.router.OnRoute(info, ev)
	}
}

// attach gives the network the data plane. It is called once, before run and before
// packets move.
func (n *network) attach(opt *Options, static *cipher.StaticKey, f *floors) error {
	if n.transports == nil {
		return nil
	}
	n.transports.Attach(f.links, f.Stack)
	up := setup.LinksOf(f.links)
	c := &opt.Config
	log := opt.Log.With().Str("part", "router").Logger()
	var err error
	n.hop, err = setup.NewHop(setup.HopConfig{
		Key: static.PubKey(), Table: f.forward, Sessions: f.sessions, LinkUp: up, Nodes: n.trusted(static.PubKey(), c.Routing.SetupNodes),
		Limits: setup.DefaultHopLimits(), Log: opt.Log.With().Str("part", "setup").Logger(),
	})
	if err != nil {
		return fmt.Errorf("visor: %w", err)
	}
	for _, m := range n.members {
		if err := n.makeNode(static.PubKey(), m); err != nil {
			return fmt.Errorf("visor: %w", err)
		}
		m.setup, err = setup.NewClient(setup.ClientConfig{
			Key: static, Table: f.forward, LinkUp: up, Nodes: m.nodeAddrs(static.PubKey(), c.Routing.SetupNodes), Log: log,
		})
		if err == nil {
			m.local, err = m.newLocal(static.PubKey(), f.links)
		}
		if err != nil {
			return fmt.Errorf("visor: %w", err)
		}
	}
	n.router, err = router.New(router.Config{
		Key: static.PubKey(), Members: n.routing(c.Routing.PathFinder), Transports: n.transports, Sessions: f.sessions,
		Links: f.links, Forward: f.forward, Busy: f.Busy, Log: log,
	})
	if err != nil {
		return fmt.Errorf("visor: %w", err)
	}
	return nil
}

// trusted returns the setup nodes that may install rules here: those of all
// deployments, extra ones, and the visor itself if it is one.
func (n *network) trusted(self cipher.PubKey, extra []cipher.PubKey) []cipher.PubKey {
	var all []cipher.PubKey
	for _, m := range n.members {
		if m.asked != nil {
			all = []cipher.PubKey{self}
		}
	}
	for _, m := range n.members {
		for _, pk := range m.setupNodes(extra) {
			if !slices.Contains(all, pk) {
				all = append(all, pk)
			}
		}
	}
	return all
}

// hangUp closes the idle connections to the services: after a change of the network they
// lead nowhere, and whoever takes one waits for an answer in vain.
func (m *member) hangUp() {
	m.http.CloseIdleConnections()
	if m.dmsg.directory != nil {
		m.dmsg.directory.Close()
	}
}

// nodeAddrs returns the setup nodes that the member asks; itself first, where it is one.
func (m *member) nodeAddrs(self cipher.PubKey, extra []cipher.PubKey) []setup.NodeAddr {
	var all []setup.NodeAddr
	if m.node != nil {
		all = append(all, setup.NodeAddr{PK: self, Transport: setup.Local(self, setup.NodePort, m.node.Handler(), m.dmsg.http)})
	}
	for _, pk := range m.setupNodes(extra) {
		if pk != self {
			all = append(all, setup.NodeAddr{PK: pk, Transport: m.dmsg.http})
		}
	}
	return all
}

// routing returns the members as the router knows them.
func (n *network) routing(finder string) []router.Member {
	var all []router.Member
	for _, m := range n.members {
		all = append(all, router.Member{Name: nameOf(m.conf), Finder: m.finder(finder), Setup: published{m.setup, m.dmsg.client.Ready()}})
	}
	return all
}

// published warms its client up once setup nodes can find this visor: what they look up
// in vain before, they take for absent a while longer.
type published struct {
	*setup.Client
	ready <-chan struct{}
}

// Warm implements router.Setup.
func (p published) Warm(ctx context.Context) {
	select {
	case <-p.ready:
		p.Client.Warm(ctx)
	case <-ctx.Done():
	}
}

// run keeps transports and routes, and serves setup nodes and operators from afar, until
// ctx ends. Links and dmsg must outlive it.
func (n *network) run(ctx context.Context, v *Visor) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range n.dmsg {
		g.Go(func() error { return v.serveRemote(ctx, d) })
	}
	if n.transports != nil {
		g.Go(func() error { return n.transports.Run(ctx) })
		g.Go(func() error { return n.router.Run(ctx) })
		for _, m := range n.members {
			g.Go(func() error { return n.hop.Serve(ctx, m.hops) })
			g.Go(func() error { m.report(ctx, n.self, n.version); return nil })
			if m.node != nil {
				g.Go(func() error { return m.node.Serve(ctx, m.asked) })
			}
		}
	}
	return g.Wait()
}

// makeNode makes the setup node inside the visor, in one deployment, if there is to be
// one.
func (n *network) makeNode(self cipher.PubKey, m *member) (err error) {
	if m.asked == nil {
		return nil
	}
	m.node, err = setup.NewNode(setup.NodeConfig{
		Key: self, Transport: setup.Local(self, setup.HopPort, n.hop.Handler(), m.dmsg.http), Limits: setup.DefaultNodeLimits(),
		Log: m.log.With().Str("part", "setup node").Logger(),
	})
	return err
}

// jitter returns d give or take a tenth, so that visors that were started together do
// not stay in step.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }
