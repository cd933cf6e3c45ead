// Package setuptest runs visors for tests of route set-up: real links, label tables and
// sessions on loopback, and dmsg clients at a real relay, all in the test's own process.
package setuptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/session"
)

// A Net is a relay, a setup node and visors.
type Net struct {
	T      testing.TB
	Relay  *relaytest.Relay
	Node   cipher.PubKey
	Visors []*Visor
}

// A Visor is what of a visor takes part in routes.
type Visor struct {
	PK       cipher.PubKey
	Key      *cipher.StaticKey
	Links    *link.Engine
	Forward  *forward.Engine
	Sessions *session.Manager
	Dmsg     *dmsg.Client
	HTTP     http.RoundTripper // for dmsg URLs
	Hop      *setup.Hop
	Client   *setup.Client

	mu      sync.Mutex
	onRoute func(session.RouteInfo, session.RouteEvent)
	burst   func(*link.Burst)
	request func(*http.Request, []byte)
	stop    func()
}

// New starts n visors and a setup node that all of them trust. edit changes the
// configuration of each visor's hop; it may be nil.
func New(t testing.TB, n int, edit func(i int, c *setup.HopConfig)) *Net {
	t.Helper()
	net := &Net{T: t, Relay: relaytest.Start(t, 0)}
	net.Node = net.AddNode(nil)
	for i := range n {
		net.Visors = append(net.Visors, net.visor(i, edit))
	}
	return net
}

// AddNode starts one more setup node, which no hop trusts yet, and returns its key. Its
// requests go through wrap, where that is not nil.
func (n *Net) AddNode(wrap func(http.RoundTripper) http.RoundTripper) cipher.PubKey {
	n.T.Helper()
	pk, sk := cipher.GenerateKeyPair()
	client, rt := n.Dmsg(sk)
	if wrap != nil {
		rt = wrap(rt)
	}
	node, err := setup.NewNode(setup.NodeConfig{Key: pk, Transport: rt, Limits: setup.DefaultNodeLimits(), Log: zerolog.Nop()})
	if err != nil {
		n.T.Fatal(err)
	}
	n.serve(client, setup.NodePort, node.Serve)
	return pk
}

// Dmsg starts a dmsg client at the relay and a transport for dmsg URLs over it.
func (n *Net) Dmsg(sk cipher.SecKey) (*dmsg.Client, http.RoundTripper) {
	n.T.Helper()
	cfg := dmsg.DefaultConfig()
	cfg.SecKey, cfg.Servers, cfg.MinSessions = sk, []*disc.Entry{n.Relay.Entry()}, 1
	cfg.Log = zerolog.Nop()
	client, err := dmsg.New(cfg)
	if err != nil {
		n.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- client.Run(ctx) }()
	tr := dmsghttp.NewTransport(func(ctx context.Context, to proto.Addr) (net.Conn, error) { return client.Dial(ctx, to) })
	n.T.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-ran; err != nil {
			n.T.Errorf("dmsg: %v", err)
		}
	})
	select {
	case <-client.Ready():
	case <-time.After(time.Minute):
		n.T.Fatal("the dmsg client does not get ready")
	}
	return client, tr
}

// serve runs what listens on a dmsg port until the test ends.
func (n *Net) serve(client *dmsg.Client, port uint16, run func(context.Context, net.Listener) error) {
	n.T.Helper()
	ln, err := client.Listen(port)
	if err != nil {
		n.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln) }()
	n.T.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.T.Errorf("port %d: %v", port, err)
		}
	})
}

func (n *Net) visor(i int, edit func(int, *setup.HopConfig)) *Visor {
	n.T.Helper()
	_, sk := cipher.GenerateKeyPair()
	key, err := cipher.NewStaticKey(sk)
	if err != nil {
		n.T.Fatal(err)
	}
	v := &Visor{PK: key.PubKey(), Key: key}
	n.dataPlane(v)
	v.Dmsg, v.HTTP = n.Dmsg(sk)
	hop := setup.HopConfig{
		Key: v.PK, Table: v.Forward, Sessions: v.Sessions, LinkUp: setup.LinksOf(v.Links),
		Nodes: []cipher.PubKey{n.Node}, Limits: setup.DefaultHopLimits(), Log: zerolog.Nop(),
	}
	if edit != nil {
		edit(i, &hop)
	}
	if v.Hop, err = setup.NewHop(hop); err != nil {
		n.T.Fatal(err)
	}
	n.serve(v.Dmsg, setup.HopPort, v.serveHop)
	v.Client, err = setup.NewClient(setup.ClientConfig{
		Key: key, Table: v.Forward, LinkUp: setup.LinksOf(v.Links),
		Nodes: []setup.NodeAddr{{PK: n.Node, Transport: v.HTTP}}, Log: zerolog.Nop(),
	})
	if err != nil {
		n.T.Fatal(err)
	}
	return v
}

// dataPlane starts links, label table and sessions of v.
func (n *Net) dataPlane(v *Visor) {
	n.T.Helper()
	v.Forward = forward.New(forward.Config{PubKey: v.PK, Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	cfg := link.DefaultConfig()
	local := netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Static, cfg.UDP, cfg.TCP, cfg.Workers = v.Key, local, local, 1
	var err error
	if v.Links, err = link.New(cfg, tap{v.Forward, v}); err != nil {
		n.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- v.Links.Run(ctx) }()
	v.Sessions, err = session.New(session.Config{
		Static: v.Key, Links: v.Links, Forward: v.Forward, Upper: deaf{}, OnRoute: v.routeEvent, Log: zerolog.Nop(),
	})
	if err != nil {
		n.T.Fatal(err)
	}
	v.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			n.T.Errorf("links: %v", err)
		}
		v.Sessions.Close()
		v.Forward.Close()
	})
	n.T.Cleanup(v.stop)
}

func (v *Visor) routeEvent(info session.RouteInfo, ev session.RouteEvent) {
	v.mu.Lock()
	f := v.onRoute
	v.mu.Unlock()
	if f != nil {
		f(info, ev)
	}
}

// OnRoute has f hear what becomes of the routes that end here.
func (v *Visor) OnRoute(f func(session.RouteInfo, session.RouteEvent)) {
	v.mu.Lock()
	v.onRoute = f
	v.mu.Unlock()
}

// Watch has burst see all route packets that come in, and request what setup nodes ask
// for, before they are worked on. Either may be nil.
func (v *Visor) Watch(burst func(*link.Burst), request func(*http.Request, []byte)) {
	v.mu.Lock()
	v.burst, v.request = burst, request
	v.mu.Unlock()
}

// A tap is a label table that somebody watches.
type tap struct {
	*forward.Engine
	v *Visor
}

// HandleBurst implements link.Handler.
func (t tap) HandleBurst(b *link.Burst) {
	t.v.mu.Lock()
	if t.v.burst != nil {
		t.v.burst(b)
	}
	t.v.mu.Unlock()
	t.Engine.HandleBurst(b)
}

// serveHop answers setup nodes.
func (v *Visor) serveHop(ctx context.Context, ln net.Listener) error {
	srv := dmsghttp.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		v.mu.Lock()
		if v.request != nil {
			v.request(r, body)
		}
		v.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		v.Hop.Handler().ServeHTTP(w, r)
	}))
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

// Kill ends the visor's data plane, as a crash does.
func (v *Visor) Kill() { v.stop() }

// Connect makes a SUDPH link between two visors and waits until it is up at both.
func (n *Net) Connect(a, b *Visor) {
	n.T.Helper()
	if _, err := a.Links.AddLink(b.PK, link.SUDPH, b.Links.UDPAddr()); err != nil {
		n.T.Fatal(err)
	}
	from, to := setup.LinksOf(a.Links), setup.LinksOf(b.Links)
	Eventually(n.T, "the link is up at both ends", func() bool {
		return from(forward.Neighbour{Peer: b.PK}) && to(forward.Neighbour{Peer: a.PK})
	})
}

// Chain connects the visors in a row.
func (n *Net) Chain(vs ...*Visor) {
	n.T.Helper()
	for i := range vs[1:] {
		n.Connect(vs[i], vs[i+1])
	}
}

// Path returns the steps over the visors.
func Path(vs ...*Visor) (path []setup.Step) {
	for _, v := range vs {
		path = append(path, setup.Step{PK: v.PK})
	}
	return path
}

// AddRoute makes the source's end of a route.
func (v *Visor) AddRoute(dst *Visor, class uint32, r setup.Route) (session.RouteInfo, error) {
	return v.Sessions.AddRoute(session.RouteSpec{
		Peer: dst.PK, Class: class, TTL: r.TTL, Out: r.Out, OutLabel: r.OutLabel, In: r.In, InLabel: r.InLabel,
	})
}

// Establish has a route made, which has to work. On a machine that has other things to do
// somebody may be too slow: then it is asked for again, after a call of again, which may
// be nil.
func (v *Visor) Establish(t testing.TB, req setup.Request, again func()) setup.Route {
	t.Helper()
	var route setup.Route
	Eventually(t, "the route is established", func() (ok bool) {
		var err error
		if route, err = v.Client.Establish(context.Background(), req); err == nil {
			return true
		}
		if !TooSlow(err) {
			t.Fatal(err)
		}
		if again != nil {
			again()
		}
		return false
	})
	return route
}

// TooSlow reports whether err says that somebody has not answered in time.
func TooSlow(err error) bool {
	return errors.Is(err, &setup.Error{Code: setup.CodeUnreachable}) || errors.Is(err, context.DeadlineExceeded)
}

// Eventually waits until cond holds.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("timed out: %s", what)
		}
	}
}

// deaf is a floor above that wants nothing.
type deaf struct{}

func (deaf) Deliver(*session.Session, uint8, [][]byte) {}
func (deaf) SessionUp(*session.Session)                {}
func (deaf) SessionDown(*session.Session, error)       {}
