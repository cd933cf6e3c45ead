package visor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/controlplane/router"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/transport"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A member is the visor in one deployment: a dmsg client of its own and the clients of
// the services, so that nothing of one deployment is told to another.
type member struct {
	conf   deployment.Conf
	dmsg   *dmsgNet
	http   *http.Transport // for http, https and dmsg URLs
	caller *deployment.Caller

	// Nil where the deployment lacks the service.
	tpd *deployment.TransportDiscovery
	ar  *deployment.AddressResolver
	rf  *deployment.RouteFinder
	sd  *deployment.ServiceDiscovery
	ut  *deployment.UptimeTracker

	setup *setup.Client  // set by network.attach
	local *router.Local  // likewise
	hops  *dmsg.Listener // of setup nodes' requests
	asked *dmsg.Listener // of requests to the setup node that the visor is; nil where it is none
	node  *setup.Node    // that node; set by network.attach
	log   zerolog.Logger
}

// newMember makes the visor's part in deployment i. One that is not run is owed a
// close.
func newMember(opt *Options, i int, budget *yamux.Budget) (*member, error) {
	c := &opt.Config
	conf := c.Deployments[i]
	servers, err := c.Servers(i)
	if err != nil {
		return nil, fmt.Errorf("visor: deployments[%d]: %w", i, err)
	}
	name := nameOf(conf)
	m := &member{conf: conf, log: opt.Log.With().Str("deployment", name).Logger()}
	m.dmsg, err = newDmsg(opt, dmsgSpec{
		name: name, discovery: conf.DmsgDiscovery, servers: servers, services: overDmsg(conf),
		sessions: c.DmsgSessions, budget: budget, dialer: relayDialer(c.DmsgServer),
	})
	if err != nil {
		return nil, err
	}
	m.http = deployment.NewRoundTripper(m.dmsg.dial)
	m.caller = deployment.NewCaller(opt.SecretKey, m.http, m.log)
	if url := conf.TransportDiscovery; url != "" {
		m.tpd = deployment.NewTransportDiscovery(url, m.caller)
	}
	if url := conf.AddressResolver; url != "" {
		m.ar = deployment.NewAddressResolver(url, m.caller)
	}
	if url := conf.RouteFinder; url != "" {
		m.rf = deployment.NewRouteFinder(url, m.caller)
	}
	if url := conf.ServiceDiscovery; url != "" {
		m.sd = deployment.NewServiceDiscovery(url, m.caller)
	}
	if url := conf.UptimeTracker; url != "" {
		m.ut = deployment.NewUptimeTracker(url, m.caller)
	}
	if m.hops, err = m.dmsg.client.Listen(setup.HopPort); err == nil && c.SetupNode {
		m.asked, err = m.dmsg.client.Listen(setup.NodePort)
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("visor: %w", err)
	}
	return m, nil
}

// nameOf names a deployment for people.
func nameOf(c deployment.Conf) string { return cmp.Or(c.Name, c.ID.Short()) }

// overDmsg returns the keys of the services of a deployment that are reached over dmsg.
func overDmsg(c deployment.Conf) []cipher.PubKey {
	var all []cipher.PubKey
	for _, url := range []string{c.DmsgDiscovery, c.TransportDiscovery, c.AddressResolver, c.RouteFinder, c.ServiceDiscovery, c.UptimeTracker} {
		host, ok := strings.CutPrefix(url, dmsghttp.Scheme+"://")
		if !ok {
			continue
		}
		host, _, _ = strings.Cut(host, "/")
		if a, err := proto.ParseAddr(host, dmsghttp.DefaultPort); err == nil {
			all = append(all, a.PK)
		}
	}
	return all
}

// relayDialer returns how relays are connected to: the one inside this visor at the
// address where it listens, for a router may not lead its public address back in. Nil
// is how the system does it.
func relayDialer(own *config.DmsgServer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if own == nil {
		return nil
	}
	listen, err := netip.ParseAddrPort(own.Listen)
	if err != nil {
		return nil // an invalid configuration
	}
	at := listen.String()
	if listen.Addr().IsUnspecified() {
		at = net.JoinHostPort("localhost", fmt.Sprint(listen.Port()))
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		if addr == own.PublicAddress {
			addr = at
		}
		return d.DialContext(ctx, network, addr)
	}
}

// close leaves the deployment.
func (m *member) close() {
	m.dmsg.close()
	m.http.CloseIdleConnections()
}

// transport returns the member as the transport manager knows it. With bind false the
// visor's address is not told to the address resolver.
func (m *member) transport(bind func() bool) transport.Member {
	t := transport.Member{ID: m.conf.ID, Name: nameOf(m.conf), Dmsg: m.dmsg.client, STUN: m.conf.STUNServers}
	if m.tpd != nil {
		t.TPD = m.tpd
	}
	if m.ar != nil {
		t.AR = &shyResolver{AddressResolver: m.ar, bind: bind}
	}
	if m.sd != nil {
		t.SD = m.sd
	}
	return t
}

// A shyResolver binds only where that is wanted, and else takes back what was bound: a
// resolver tells the address to everybody, and transport.accept may be meant for a few.
type shyResolver struct {
	*deployment.AddressResolver
	bind func() bool

	mu       sync.Mutex
	withdrew bool // the resolver has no address of ours
}

// Bind implements transport.Resolver.
func (r *shyResolver) Bind(ctx context.Context, in deployment.Instance, b deployment.Bind) (deployment.Bound, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bind() {
		r.withdrew = false
		return r.AddressResolver.Bind(ctx, in, b)
	}
	if !r.withdrew {
		if err := r.AddressResolver.Unbind(ctx); err != nil && !errors.Is(err, deployment.ErrNotFound) {
			return deployment.Bound{}, err
		}
		r.withdrew = true
	}
	return deployment.Bound{Why: "transport.accept is \"list\": the address resolver would tell this machine's address to everybody", TTL: int(uptimePause / time.Second)}, nil
}

// setupNodes returns the setup nodes that routes of the deployment may be set up by:
// its own, and those of the configuration.
func (m *member) setupNodes(extra []cipher.PubKey) []cipher.PubKey {
	var all []cipher.PubKey
	seen := map[cipher.PubKey]bool{}
	for _, pk := range append(append([]cipher.PubKey{}, m.conf.SetupNodes...), extra...) {
		if !seen[pk] {
			seen[pk] = true
			all = append(all, pk)
		}
	}
	return all
}

// Pauses between reports to the uptime tracker, and after one that failed.
const (
	uptimePause = 5 * time.Minute
	uptimeAgain = 20 * time.Second
)

// report tells the uptime tracker that the visor is up, until ctx ends.
func (m *member) report(ctx context.Context, self deployment.Instance, version string) {
	if m.ut == nil {
		return
	}
	told := true
	for {
		err := m.ut.Update(ctx, self, version)
		if ctx.Err() != nil {
			return
		}
		if (err == nil) != told {
			told = err == nil
			if err != nil {
				m.log.Warn().Err(err).Msg("the uptime tracker does not take that this visor is up")
			} else {
				m.log.Info().Msg("the uptime tracker knows that this visor is up")
			}
		}
		pause := uptimePause
		if err != nil {
			pause = uptimeAgain
		}
		if !sleep(ctx, jitter(pause)) {
			return
		}
	}
}
