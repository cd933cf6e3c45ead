package visor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsgctrl"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// dmsgLinkPort is the port of the own key, in the dmsg network, at which a visor takes
// links. The deployed software has other transports at 45.
const dmsgLinkPort = 49

// dmsgClientType is what a visor's entry in the discovery calls it.
const dmsgClientType = "visor"

// A dmsgSpec says which dmsg network to join, and how.
type dmsgSpec struct {
	name      string // of the network, for logs; "" where it is the only one
	discovery string // URL; "" where the servers are all there is
	servers   []config.Server
	services  []cipher.PubKey // that have sessions with all of the servers
	sessions  int             // relays of the discovery to stay connected to
	budget    *yamux.Budget   // shared; nil is one of its own
	// dialer opens the connections to relays; nil is the system's.
	dialer func(ctx context.Context, network, addr string) (net.Conn, error)
}

// dmsgNet is the visor's presence in a dmsg network.
type dmsgNet struct {
	client    *dmsg.Client
	http      *dmsghttp.Transport // over this network
	directory *disc.HTTPClient    // nil: the servers are all there is
	inbound   *dmsg.Listener      // of links
	ctrl      *dmsg.Listener
	manage    *dmsg.Listener
	log       zerolog.Logger
	plane     links // set before run

	mu     sync.Mutex
	hidden error // why the discovery does not have the visor's entry
}

// sectionDmsg returns what the section "dmsg" of the configuration asks for.
func sectionDmsg(c *config.Dmsg) dmsgSpec {
	return dmsgSpec{discovery: c.Discovery, servers: c.Servers, sessions: c.Sessions}
}

// newDmsg makes the visor's presence in a dmsg network. Links can be dialled; the rest
// begins with run. One that is not run is owed a close.
func newDmsg(opt *Options, spec dmsgSpec) (*dmsgNet, error) {
	log := opt.Log.With().Str("part", "dmsg")
	if spec.name != "" {
		log = log.Str("deployment", spec.name)
	}
	n := &dmsgNet{log: log.Logger()}
	n.http = dmsghttp.NewTransport(n.dial)
	cfg := dmsg.DefaultConfig()
	cfg.SecKey, cfg.ClientType, cfg.Log, cfg.OnEvent = opt.SecretKey, dmsgClientType, n.log, n.note
	cfg.Services, cfg.Budget = spec.services, spec.budget
	if spec.dialer != nil {
		cfg.DialContext = spec.dialer
	}
	for _, s := range spec.servers {
		cfg.Servers = append(cfg.Servers, disc.NewServer(s.PK, s.Addr, 1, time.Time{}))
	}
	if spec.discovery == "" {
		cfg.MinSessions = dmsg.AllServers // a neighbour that has one of them in common finds us
	} else {
		cfg.MinSessions = cmp.Or(spec.sessions, config.DefaultSessions)
		if err := n.discover(spec.discovery, &cfg); err != nil {
			return nil, fmt.Errorf("visor: %w", err)
		}
	}
	var err error
	if n.client, err = dmsg.New(cfg); err != nil {
		return nil, fmt.Errorf("visor: %w", err)
	}
	for _, l := range []struct {
		port uint16
		lis  **dmsg.Listener
	}{{dmsgLinkPort, &n.inbound}, {dmsgctrl.Port, &n.ctrl}, {api.Port, &n.manage}} {
		if *l.lis, err = n.client.Listen(l.port); err != nil {
			n.close()
			return nil, fmt.Errorf("visor: %w", err)
		}
	}
	return n, nil
}

// discover sets the client of the discovery.
func (n *dmsgNet) discover(at string, cfg *dmsg.Config) (err error) {
	var o disc.HTTPOptions
	if key, ok := strings.CutPrefix(at, dmsghttp.Scheme+"://"); ok {
		key, _, _ = strings.Cut(key, "/")
		service, err := proto.ParseAddr(key, dmsghttp.DefaultPort)
		if err != nil {
			return err
		}
		cfg.Services = append(slices.Clip(cfg.Services), service.PK)
		o.Transport = n.http
	}
	if n.directory, err = disc.New(at, o); err == nil {
		cfg.Directory = n.directory
	}
	return err
}

// dial is the client's Dial as a net.Conn that is nil where there is none.
func (n *dmsgNet) dial(ctx context.Context, to proto.Addr) (net.Conn, error) {
	st, err := n.client.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// open opens a stream for a link to peer.
func (n *dmsgNet) open(ctx context.Context, peer cipher.PubKey) (net.Conn, error) {
	conn, err := n.dial(ctx, proto.Addr{PK: peer, Port: dmsgLinkPort})
	switch {
	case errors.Is(err, proto.ErrNoEntry):
		return nil, errors.New("dmsg: the discovery does not know that key: no visor with it is online in this network")
	case errors.Is(err, proto.ErrNoListener):
		return nil, errors.New("dmsg: who has that key takes no links over dmsg")
	case err != nil && len(n.client.Sessions()) == 0:
		return nil, fmt.Errorf("dmsg: no relay is reached: %w", err)
	}
	return conn, err
}

// dmsgNets are the dmsg networks that the visor is in. Peers are looked for in all of
// them at once.
type dmsgNets []*dmsgNet

// dial opens a stream to a key and port in whichever network answers first. The error
// joins those of all.
func (ns dmsgNets) dial(ctx context.Context, to proto.Addr) (net.Conn, error) {
	return ns.race(ctx, func(ctx context.Context, n *dmsgNet) (net.Conn, error) { return n.dial(ctx, to) })
}

// open opens a stream for a link to peer.
func (ns dmsgNets) open(ctx context.Context, peer cipher.PubKey) (net.Conn, error) {
	return ns.race(ctx, func(ctx context.Context, n *dmsgNet) (net.Conn, error) { return n.open(ctx, peer) })
}

func (ns dmsgNets) race(ctx context.Context, attempt func(context.Context, *dmsgNet) (net.Conn, error)) (net.Conn, error) {
	if len(ns) == 1 {
		return attempt(ctx, ns[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(ns))
	for _, n := range ns {
		go func() {
			conn, err := attempt(ctx, n)
			results <- result{conn, err}
		}()
	}
	var errs []error
	for i := range ns {
		r := <-results
		if r.err == nil {
			cancel()
			go func() { // the others, if any come yet
				for range len(ns) - i - 1 {
					if late := <-results; late.err == nil {
						_ = late.conn.Close()
					}
				}
			}()
			return r.conn, nil
		}
		errs = append(errs, r.err)
	}
	return nil, errors.Join(errs...)
}

// run joins the networks until ctx ends, then leaves them.
func (ns dmsgNets) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range ns {
		g.Go(func() error { return n.run(ctx) })
	}
	g.Go(func() error { <-ctx.Done(); return nil }) // none is no reason to end
	return g.Wait()
}

// close leaves the networks.
func (ns dmsgNets) close() {
	for _, n := range ns {
		n.close()
	}
}

// run joins the network until ctx ends, then leaves it.
func (n *dmsgNet) run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(n.acceptLinks)
	wg.Go(func() {
		if err := dmsgctrl.Serve(ctx, n.ctrl); err != nil {
			n.log.Error().Err(err).Msg("no answer to pings over dmsg any more")
		}
	})
	err := n.client.Run(ctx)
	wg.Wait()
	n.close()
	return err
}

// close leaves the network.
func (n *dmsgNet) close() {
	_ = n.client.Close() // always nil
	n.http.CloseIdleConnections()
	if n.directory != nil {
		n.directory.Close()
	}
}

// acceptLinks hands inbound streams to the data plane until the client is closed.
func (n *dmsgNet) acceptLinks() {
	for {
		st, err := n.inbound.AcceptStream()
		if err != nil {
			return
		}
		n.plane.AcceptStream(st, st.Peer().PK)
	}
}

// note is told what happens to sessions and to the own entry; the client logs it.
func (n *dmsgNet) note(e dmsg.Event) {
	switch e.Kind {
	case dmsg.EventUp:
		// Links that found no relay need not sit out their pause.
		for _, l := range n.plane.Links() {
			if l.Type == api.DMSG && l.State != api.LinkUp {
				n.plane.Hurry(l.PK, l.Type)
			}
		}
	case dmsg.EventHidden, dmsg.EventPublished:
		n.mu.Lock()
		n.hidden = e.Err // none for EventPublished
		n.mu.Unlock()
	}
}

// status says how the visor does in the network.
func (n *dmsgNet) status() *api.Dmsg {
	s := &api.Dmsg{Relays: []api.Relay{}}
	if n.directory != nil {
		s.Discovery = n.directory.URL()
	}
	listed := false
	for _, i := range n.client.Sessions() {
		listed = listed || i.Listed
		s.Relays = append(s.Relays, api.Relay{
			PK: i.Server, Addr: i.Addr, Since: i.Since.UTC().Round(time.Second), RTTMicros: i.RTT.Microseconds(),
			Streams: i.Streams, Draining: i.Draining,
		})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(s.Relays) == 0:
		s.LastError = "no relay is connected"
	case n.hidden != nil:
		s.LastError = fmt.Sprintf("the discovery did not take this visor's entry: %v", n.hidden)
	default:
		s.Reachable = listed
	}
	return s
}

// errNoDmsg refuses a link for which there is no network.
func errNoDmsg() error {
	return api.ErrBadRequest.With("this visor is in no dmsg network: add deployments or a section \"dmsg\" with a discovery or servers to its configuration, and restart it")
}
