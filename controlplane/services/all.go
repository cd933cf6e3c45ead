package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/daemon"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/bootstrap"
	"github.com/skyminer/skywire/controlplane/services/dmsgdisc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/nonce"
	"github.com/skyminer/skywire/controlplane/services/servicedisc"
	"github.com/skyminer/skywire/controlplane/services/stunserver"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Prefixes of the services in a whole deployment.
const (
	prefixDmsgDisc      = "/dmsgd"
	prefixTransportDisc = "/tpd"
	prefixAddress       = "/ar"
	prefixRouteFinder   = "/rf"
	prefixServiceDisc   = "/sd"
	prefixUptime        = "/ut"
)

// relayDrain is how long clients of the relay have to move when all ends: there is
// nowhere to move to.
const relayDrain = time.Second

// A whole is a deployment in one process.
type whole struct {
	cfg  AllConfig
	log  zerolog.Logger
	sk   cipher.SecKey
	pk   cipher.PubKey
	st   store.Store
	geo  *servicedisc.Database // nil: none
	l    net.Listener
	stun *stunserver.Server // nil: none
	// relay and its key; nil: none.
	relay   *daemon.Daemon
	relayPK cipher.PubKey
	server  server
}

// newWhole opens everything that a deployment needs. Run it.
func newWhole(ctx context.Context, cfg AllConfig, version string, log zerolog.Logger) (*whole, error) {
	w := &whole{cfg: cfg, log: log}
	if err := w.open(ctx, version); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// open opens everything; what it has opened when it fails stays open.
func (w *whole) open(ctx context.Context, version string) (err error) {
	if w.sk, err = keyIn(w.cfg.Dir, "deployment.key"); err != nil {
		return err
	}
	if w.pk, err = w.sk.PubKey(); err != nil {
		return fmt.Errorf("deployment.key: %w", err)
	}
	at := w.cfg.Store
	if at == "" {
		at = "bolt://" + filepath.Join(w.cfg.Dir, "skysvc.db")
	}
	if w.st, err = openStore(ctx, at, w.log); err != nil {
		return err
	}
	if err := claim(ctx, w.st, w.pk); err != nil {
		return err
	}
	if w.cfg.GeoDatabase != "" {
		if w.geo, err = servicedisc.OpenDatabase(w.cfg.GeoDatabase); err != nil {
			return err
		}
	}
	if w.l, err = listen(w.cfg.Addr, httpd.ListenOptions{PerSource: w.cfg.Connections, Proxies: w.cfg.Proxies}); err != nil {
		return err
	}
	if w.cfg.STUNAddr != "" {
		if w.stun, err = newSTUN(w.cfg.STUNAddr, w.cfg.Limits.Reads == 0, w.log); err != nil {
			return err
		}
	}
	if w.cfg.RelayAddr != "" {
		if err := w.openRelay(version); err != nil {
			return err
		}
	}
	return w.mount(version)
}

// close closes what a whole that does not run has opened, and what Run leaves open.
func (w *whole) close() {
	if w.relay != nil {
		w.relay.Close()
	}
	if w.stun != nil {
		w.stun.Close()
	}
	if w.l != nil {
		_ = w.l.Close()
	}
	if w.geo != nil {
		_ = w.geo.Close()
	}
	if w.st != nil {
		_ = w.st.Close()
	}
}

// port returns the port of a listener's address.
func port(a net.Addr) string {
	_, p, _ := net.SplitHostPort(a.String()) // it is one
	return p
}

// openRelay makes the relay, which registers like any other.
func (w *whole) openRelay(version string) error {
	sk, err := keyIn(w.cfg.Dir, "relay.key")
	if err != nil {
		return err
	}
	if w.relayPK, err = sk.PubKey(); err != nil {
		return fmt.Errorf("relay.key: %w", err)
	}
	err = w.listenRelay(sk, version)
	_, p, _ := net.SplitHostPort(w.cfg.RelayAddr)
	for try := 1; p == "0" && errors.Is(err, syscall.EADDRINUSE) && try < freeTries; try++ {
		err = w.listenRelay(sk, version) // somebody was faster
	}
	return err
}

// freeTries is how often a free port is looked for.
const freeTries = 8

// listenRelay makes the relay and opens its port.
func (w *whole) listenRelay(sk cipher.SecKey, version string) (err error) {
	host, _ := w.cfg.host()
	// The entry says where the relay listens, so the port must be known before.
	addr := w.cfg.RelayAddr
	if _, p, _ := net.SplitHostPort(addr); p == "0" {
		if addr, err = freeAddr(addr); err != nil {
			return fmt.Errorf("relay at %s: %w", w.cfg.RelayAddr, err)
		}
	}
	_, p, _ := net.SplitHostPort(addr)
	rc := daemon.Default()
	rc.SecretKey, rc.LocalAddress, rc.HealthAddress = sk, addr, ""
	rc.PublicAddress = net.JoinHostPort(host, p)
	rc.Discovery = "http://" + reachable(w.l.Addr()) + prefixDmsgDisc
	rc.DrainTimeout = daemon.Duration(relayDrain)
	for _, prefix := range w.cfg.Proxies {
		rc.Proxies = append(rc.Proxies, prefix.String())
	}
	if w.cfg.Connections == 0 {
		rc.MaxPerAddress = 0
	}
	if err := rc.Validate(); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	w.relay, err = daemon.New(daemon.Options{Config: rc, SecretKey: sk, Version: version, Log: w.log.With().Str("service", "relay").Logger()})
	if err != nil {
		return fmt.Errorf("relay at %s: %w", addr, err)
	}
	return nil
}

// freeAddr returns addr with a free port.
func freeAddr(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	defer l.Close()
	host, _, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port(l.Addr())), nil
}

// reachable returns the address at which this machine reaches a listener of its own.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("localhost", strconv.Itoa(t.Port))
}

// mount makes the services and their server.
func (w *whole) mount(version string) error {
	log := func(name string) zerolog.Logger { return w.log.With().Str("service", name).Logger() }
	host, _ := w.cfg.host()
	hosts := []string{host, "localhost"}
	if u, err := url.Parse(w.cfg.PublicURL); err == nil && u.Host != "" {
		hosts = append(hosts, u.Host)
	}
	verifier := httpauth.NewVerifier(httpauth.Options{Hosts: hosts, Key: w.pk, Nonces: nonce.New(w.st, time.Now)})
	limits := w.cfg.Limits
	do := dmsgdisc.DefaultOptions()
	do.Log = log("dmsgdisc")
	if a, err := netip.ParseAddr(host); err == nil && a.IsLoopback() {
		do.Testing = true // a network on one machine
	}
	do.Shared = w.cfg.Store != "" && !strings.HasPrefix(w.cfg.Store, "bolt://")
	if limits.Writes == 0 {
		do.ReadRate, do.WriteRate, do.NewRate, do.KeyRate = 0, 0, 0, 0
	}
	p := func(name string) parts {
		return parts{sk: w.sk, st: w.st, verifier: verifier, geo: w.geo, free: limits.Writes == 0, log: log(name)}
	}
	directory, err := dmsgdisc.New(w.st, do)
	if err != nil {
		return err
	}
	tpd, err := transportDisc(p("tpd"))
	if err != nil {
		return err
	}
	rf, err := routeFinder(p("rf"), tpd.Index())
	if err != nil {
		return err
	}
	ar, err := newAR(p("ar"))
	if err != nil {
		return err
	}
	sd, err := newSD(p("sd"))
	if err != nil {
		return err
	}
	ut, err := newUT(p("ut"))
	if err != nil {
		return err
	}
	boot, err := bootstrap.New(bootstrap.Options{SecKey: w.sk, Conf: w.conf(w.base()), Dmsg: w.conf("dmsg://" + w.pk.String() + ":80"), Log: log("conf")})
	if err != nil {
		return err
	}
	mounts := []httpd.Mount{
		{Name: "conf", Service: boot, Limits: limits},
		{Name: "dmsgdisc", Prefix: prefixDmsgDisc, Service: directory}, // it has its own
		{Name: "tpd", Prefix: prefixTransportDisc, Service: tpd, Limits: limits},
		{Name: "rf", Prefix: prefixRouteFinder, Service: rf, Limits: httpd.Limits{Reads: limits.Reads, Writes: limits.Reads}}, // its POSTs ask
		{Name: "ar", Prefix: prefixAddress, Service: ar, Limits: limits},
		{Name: "sd", Prefix: prefixServiceDisc, Service: sd, Limits: limits},
		{Name: "ut", Prefix: prefixUptime, Service: ut, Limits: limits},
	}
	if w.stun != nil {
		mounts = append(mounts, stunMount(w.stun))
	}
	h := httpd.NewHost(httpd.HostOptions{Version: version, Now: time.Now, Log: w.log}, mounts...)
	w.server = server{host: h, sk: w.sk, directory: w.ownRelayFirst(directory), perKey: w.cfg.Connections, log: w.log, more: w.beside}
	return nil
}

// base returns the URL of the HTTP part, with bootstrap.Here where only a request
// will tell.
func (w *whole) base() string {
	if w.cfg.PublicURL != "" {
		return strings.TrimSuffix(w.cfg.PublicURL, "/")
	}
	return "http://" + w.public(port(w.l.Addr()))
}

// public returns host:port as visors see it.
func (w *whole) public(port string) string {
	if w.cfg.PublicHost == "" {
		return bootstrap.Here + ":" + port
	}
	return net.JoinHostPort(w.cfg.PublicHost, port)
}

// conf returns what visors are told, the services being below base.
func (w *whole) conf(base string) deployment.Conf {
	c := deployment.Conf{
		Name:          w.cfg.Name,
		DmsgDiscovery: base + prefixDmsgDisc, TransportDiscovery: base + prefixTransportDisc,
		AddressResolver: base + prefixAddress, RouteFinder: base + prefixRouteFinder,
		ServiceDiscovery: base + prefixServiceDisc, UptimeTracker: base + prefixUptime,
	}
	if w.cfg.SetupNode {
		c.SetupNodes = append(c.SetupNodes, w.pk)
	}
	if w.stun != nil {
		c.STUNServers = append(c.STUNServers, w.public(strconv.Itoa(int(w.stun.Addr().Port()))))
	}
	if w.relay != nil {
		c.DmsgServers = append(c.DmsgServers, w.relayPK.String()+"@"+w.public(port(w.relay.Addr())))
	}
	return c
}

// beside runs what is no HTTP service until ctx ends.
func (w *whole) beside(ctx context.Context, client *dmsg.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	if w.stun != nil {
		g.Go(func() error { return w.stun.Run(ctx) })
	}
	if w.relay != nil {
		g.Go(func() error { return w.relay.Run(ctx) })
	}
	if w.cfg.SetupNode {
		g.Go(func() error { return serveSetup(ctx, client, w.log.With().Str("service", "setup").Logger()) })
	}
	return g.Wait()
}

// run serves until ctx ends and closes everything.
func (w *whole) run(ctx context.Context, up func()) error {
	defer w.close()
	return w.server.run(ctx, w.l, up)
}
