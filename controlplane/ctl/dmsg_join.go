package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsgctrl"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A dmsgNet is the network that the flags name, and this run's key in it.
type dmsgNet struct {
	p         *Program
	f         *dmsgFlags
	dir       *disc.HTTPClient // nil: the pinned relays are all there is
	client    *dmsg.Client
	ephemeral bool // the key is made for this run

	loud atomic.Bool    // tell what becomes of the sessions
	wg   sync.WaitGroup // of online
}

// network makes the network that f names. Its close must be called.
func (p *Program) network(f *dmsgFlags) (*dmsgNet, error) {
	n := &dmsgNet{p: p, f: f, ephemeral: f.keyFile == ""}
	cfg := dmsg.DefaultConfig()
	cfg.Servers = f.servers
	cfg.OnEvent = n.tell
	if n.ephemeral {
		_, cfg.SecKey = cipher.GenerateKeyPair()
	} else {
		var err error
		if cfg.SecKey, err = cipher.LoadSecKey(f.keyFile); err != nil {
			return nil, err
		}
	}
	if err := n.findDiscovery(&cfg); err != nil {
		return nil, err
	}
	if n.dir != nil {
		cfg.Directory = n.dir
	} else {
		cfg.MinSessions = dmsg.AllServers // a peer that has one of them in common finds us
	}
	var err error
	if n.client, err = dmsg.New(cfg); err != nil {
		return nil, api.ErrBadRequest.With("%s", bare(err))
	}
	return n, nil
}

// findDiscovery sets dir, unless the pinned relays are all there is.
func (n *dmsgNet) findDiscovery(cfg *dmsg.Config) error {
	at := n.f.discovery
	if at == "" && len(n.f.servers) == 0 {
		at = n.p.discovery
	}
	if at == "" && len(n.f.servers) == 0 {
		return api.ErrBadRequest.With("no network is named: give its discovery with --discovery URL (environment: SKYWIRE_DISCOVERY), or relays with --server PK@HOST:PORT")
	}
	if at == "" {
		return nil
	}
	u, err := url.Parse(at)
	if err != nil {
		return api.ErrBadRequest.With("--discovery is %q; want a URL like http://host:9090", at)
	}
	var o disc.HTTPOptions
	if u.Scheme == dmsghttp.Scheme {
		service, err := proto.ParseAddr(u.Host, dmsghttp.DefaultPort)
		if err != nil {
			return api.ErrBadRequest.With("--discovery is %q; want dmsg://PK:PORT: %s", at, bare(err))
		}
		if len(n.f.servers) == 0 {
			return api.ErrBadRequest.With("--discovery is %q, which is reached by way of a relay: name one with --server PK@HOST:PORT", at)
		}
		cfg.Services = []cipher.PubKey{service.PK}
		o.Transport = dmsghttp.NewTransport(n.dialConn)
	}
	if n.dir, err = disc.New(at, o); err != nil {
		return api.ErrBadRequest.With("--discovery: %s", bare(err))
	}
	return nil
}

// close leaves the network and waits until nothing of it runs.
func (n *dmsgNet) close() {
	n.loud.Store(false)
	n.client.Close()
	n.wg.Wait()
	if n.dir != nil {
		n.dir.Close()
	}
}

// dial opens a stream, in the time of --timeout, and says what to do where it cannot.
func (n *dmsgNet) dial(ctx context.Context, to proto.Addr) (*dmsg.Stream, error) {
	ctx, cancel := n.f.within(ctx)
	defer cancel()
	st, err := n.client.Dial(ctx, to)
	if err != nil {
		return nil, n.explain(to, err)
	}
	return st, nil
}

// dialConn is dial for those who want a net.Conn and the bare error.
func (n *dmsgNet) dialConn(ctx context.Context, to proto.Addr) (net.Conn, error) {
	st, err := n.client.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// where names the network in errors.
func (n *dmsgNet) where() string {
	if n.dir != nil {
		return "the discovery at " + n.dir.URL()
	}
	return "the relays of --server"
}

// explain makes an error of a dial one for people.
func (n *dmsgNet) explain(to proto.Addr, err error) error {
	switch {
	case errors.Is(err, proto.ErrNoEntry):
		return api.ErrNotFound.With("%s does not know the key %s: nobody with that key is online in this network", n.where(), to.PK)
	case errors.Is(err, disc.ErrUnreachable), errors.Is(err, disc.ErrAnswer):
		return n.noDiscovery(err)
	case errors.Is(err, proto.ErrNoListener):
		return api.ErrUnreachable.With("%s is there, but nobody listens on its port %d", to.PK, to.Port)
	case errors.Is(err, errTooSlow):
		return api.ErrTimeout.With("%s was not reached within %v (--timeout)", to, n.f.timeout)
	case errors.Is(err, context.Canceled):
		return errInterrupted("before " + to.String() + " was reached")
	}
	return api.ErrUnreachable.With("%s", clean(bare(err)))
}

// noDiscovery explains that the discovery gave no good answer.
func (n *dmsgNet) noDiscovery(err error) error {
	return api.ErrUnreachable.With("%s (--discovery names another, --server PK@HOST:PORT does without)", clean(bare(err)))
}

// online connects and waits until others can reach the key, in the time of --timeout.
// It answers "skyctl dmsg ping" from then on. Everything ends with close.
func (n *dmsgNet) online(ctx context.Context) error {
	ctrl, err := n.client.Listen(dmsgctrl.Port)
	if err != nil {
		return fmt.Errorf("port %d: %w", dmsgctrl.Port, err)
	}
	n.loud.Store(true)
	n.wg.Go(func() { _ = n.client.Run(context.Background()) }) // fails only where it runs already
	n.wg.Go(func() { _ = dmsgctrl.Serve(context.Background(), ctrl) })
	wait, cancel := n.f.within(ctx)
	defer cancel()
	select {
	case <-n.client.Ready():
		return nil
	case <-wait.Done():
	}
	if ctx.Err() != nil {
		return errInterrupted("before a relay was reached")
	}
	return n.whyOffline(ctx)
}

// whyOffline finds out why the client did not become ready.
func (n *dmsgNet) whyOffline(ctx context.Context) error {
	sessions := n.client.Sessions()
	if n.dir == nil {
		return api.ErrUnreachable.With("none of the relays of --server was reached within %v (--timeout)", n.f.timeout)
	}
	ctx, cancel := n.f.within(ctx)
	defer cancel()
	if len(sessions) == 0 {
		relays, err := n.dir.AvailableServers(ctx)
		switch {
		case errors.Is(err, disc.ErrNoServers):
			return api.ErrUnreachable.With("%s knows no relay that has room", n.where())
		case err != nil:
			return n.noDiscovery(err)
		}
		return api.ErrUnreachable.With("none of the %d relays that %s names was reached within %v (--timeout)", len(relays), n.where(), n.f.timeout)
	}
	if _, err := n.dir.Entry(ctx, n.client.PubKey()); err != nil && !errors.Is(err, disc.ErrNotFound) {
		return n.noDiscovery(err)
	}
	return api.ErrUnreachable.With("%s did not take the entry of this key within %v (--timeout); is this machine's clock right?", n.where(), n.f.timeout)
}

// listen opens a port of the own key, once others can reach it.
func (n *dmsgNet) listen(ctx context.Context, port uint16) (*dmsg.Listener, error) {
	lis, err := n.client.Listen(port)
	if err != nil {
		return nil, api.ErrConflict.With("port %d: %s", port, bare(err))
	}
	if err := n.online(ctx); err != nil {
		return nil, err
	}
	if n.ephemeral {
		n.p.notice(note{Event: "key", Peer: n.client.PubKey().String(), Text: "the key is made for this run only; --sk-file FILE keeps one"})
	}
	return lis, nil
}

// tell says what becomes of the sessions with relays, and of the own entry.
func (n *dmsgNet) tell(e dmsg.Event) {
	names := map[dmsg.EventKind]string{
		dmsg.EventUp: "relay_up", dmsg.EventDown: "relay_down", dmsg.EventDrain: "relay_drains",
		dmsg.EventMoved: "relay_moved", dmsg.EventHidden: "entry_hidden",
	}
	name, ok := names[e.Kind]
	if !ok || !n.loud.Load() {
		return
	}
	nt := note{Event: name, Text: clean(bare(errors.New(e.String())))}
	if e.Server != (cipher.PubKey{}) {
		nt.Relay = &e.Server
	}
	n.p.notice(nt)
}
