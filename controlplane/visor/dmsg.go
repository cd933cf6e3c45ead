package visor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsgctrl"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// dmsgLinkPort is the port of the own key, in the dmsg network, at which a visor takes
// links. The deployed software has other transports at 45.
const dmsgLinkPort = 49

// dmsgClientType is what a visor's entry in the discovery calls it.
const dmsgClientType = "visor"

// dmsgNet is the visor's presence in a dmsg network.
type dmsgNet struct {
	client    *dmsg.Client
	directory *disc.HTTPClient // nil: the servers are all there is
	inbound   *dmsg.Listener   // of links
	ctrl      *dmsg.Listener
	log       zerolog.Logger
	plane     links // set before run

	mu     sync.Mutex
	hidden error // why the discovery does not have the visor's entry
}

// newDmsg makes what the configuration asks for, which is nil where it has no dmsg
// section. Links can be dialled; the rest begins with run. One that is not run is owed
// a close.
func newDmsg(opt *Options) (*dmsgNet, error) {
	c := opt.Config.Dmsg
	if c == nil {
		return nil, nil
	}
	n := &dmsgNet{log: opt.Log.With().Str("part", "dmsg").Logger()}
	cfg := dmsg.DefaultConfig()
	cfg.SecKey, cfg.ClientType, cfg.Log, cfg.OnEvent = opt.SecretKey, dmsgClientType, n.log, n.note
	for _, s := range c.Servers {
		cfg.Servers = append(cfg.Servers, disc.NewServer(s.PK, s.Addr, 1, time.Time{}))
	}
	if c.Discovery == "" {
		cfg.MinSessions = dmsg.AllServers // a neighbour that has one of them in common finds us
	} else {
		cfg.MinSessions = config.DefaultSessions
		if c.Sessions != 0 {
			cfg.MinSessions = c.Sessions
		}
		if err := n.discover(c.Discovery, &cfg); err != nil {
			return nil, fmt.Errorf("visor: %w", err)
		}
	}
	var err error
	if n.client, err = dmsg.New(cfg); err != nil {
		return nil, fmt.Errorf("visor: %w", err)
	}
	if n.inbound, err = n.client.Listen(dmsgLinkPort); err == nil {
		n.ctrl, err = n.client.Listen(dmsgctrl.Port)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("visor: %w", err)
	}
	return n, nil
}

// discover sets the client of the discovery.
func (n *dmsgNet) discover(at string, cfg *dmsg.Config) (err error) {
	var o disc.HTTPOptions
	if key, ok := strings.CutPrefix(at, dmsghttp.Scheme+"://"); ok {
		service, err := proto.ParseAddr(strings.TrimSuffix(key, "/"), dmsghttp.DefaultPort)
		if err != nil {
			return err
		}
		cfg.Services = []cipher.PubKey{service.PK}
		o.Transport = dmsghttp.NewTransport(func(ctx context.Context, to proto.Addr) (net.Conn, error) { return n.dial(ctx, to) })
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

// close leaves the network. n may be nil.
func (n *dmsgNet) close() {
	if n == nil {
		return
	}
	_ = n.client.Close() // always nil
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
	for _, i := range n.client.Sessions() {
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
		select {
		case <-n.client.Ready():
			s.Reachable = true
		default:
		}
	}
	return s
}

// errNoDmsg refuses a link for which there is no network.
func errNoDmsg() error {
	return api.ErrBadRequest.With("this visor is in no dmsg network: add a section \"dmsg\" with a discovery or servers to its configuration, and restart it")
}
