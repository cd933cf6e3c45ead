package daemon

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Options are what a Daemon is made of.
type Options struct {
	Config    Config // valid
	SecretKey cipher.SecKey
	Version   string
	Log       zerolog.Logger
}

// A Daemon is a relay with everything around it.
type Daemon struct {
	o      Options
	srv    *relay.Server
	ln     net.Listener
	health net.Listener   // nil for none
	dir    disc.Directory // nil for none
}

// New makes a relay and opens its sockets. Run it or Close it.
func New(o Options) (*Daemon, error) {
	id, err := proto.NewIdentity(o.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	c := relay.DefaultConfig()
	c.Identity = id
	c.MaxSessions, c.MaxPerAddress, c.MaxPerKey = o.Config.MaxSessions, o.Config.MaxPerAddress, o.Config.MaxPerKey
	c.MaxStreams = o.Config.MaxStreams
	c.Proxies = o.Config.prefixes()
	c.DrainTimeout = time.Duration(o.Config.DrainTimeout)
	c.Log = o.Log
	d := &Daemon{o: o}
	if d.srv, err = relay.New(c); err != nil {
		return nil, err
	}
	if o.Config.Discovery != "" {
		if d.dir, err = disc.New(o.Config.Discovery, disc.HTTPOptions{}); err != nil {
			return nil, err
		}
	}
	if d.ln, err = net.Listen("tcp", o.Config.LocalAddress); err != nil {
		return nil, fmt.Errorf("local_address: %w", err)
	}
	if o.Config.HealthAddress != "" {
		if d.health, err = net.Listen("tcp", o.Config.HealthAddress); err != nil {
			_ = d.ln.Close()
			return nil, fmt.Errorf("health_endpoint_address: %w", err)
		}
	}
	return d, nil
}

// Addr returns where the relay listens.
func (d *Daemon) Addr() net.Addr { return d.ln.Addr() }

// HealthAddr returns where /health and /metrics are, or nil.
func (d *Daemon) HealthAddr() net.Addr {
	if d.health == nil {
		return nil
	}
	return d.health.Addr()
}

// Snapshot returns the relay's counters. Safe for concurrent use.
func (d *Daemon) Snapshot() relay.Snapshot { return d.srv.Snapshot() }

// Close closes the sockets of a Daemon that will not run.
func (d *Daemon) Close() {
	_ = d.ln.Close()
	if d.health != nil {
		_ = d.health.Close()
	}
}

// Run serves until ctx ends, then leaves the discovery, lets clients move and
// returns nil; or it returns why it cannot go on.
func (d *Daemon) Run(ctx context.Context) error {
	log := d.o.Log
	log.Info().Stringer("key", d.srv.PubKey()).Stringer("address", d.Addr()).Str("version", d.o.Version).Msg("relay is up")
	defer log.Info().Msg("relay is down")

	g, ctx := errgroup.WithContext(ctx)
	// The health page stays to the end of the draining.
	pagesCtx, stopPages := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		defer stopPages()
		return d.srv.Serve(ctx, d.ln)
	})
	if d.health != nil {
		p := &pages{srv: d.srv, cfg: &d.o.Config, version: d.o.Version, started: time.Now()}
		g.Go(func() error { return httpd.Serve(pagesCtx, httpd.NewServer("skydmsg", p.handle, log), d.health) })
	}
	if d.dir != nil {
		a := &announcer{
			directory: d.dir, sk: d.o.SecretKey, address: d.o.Config.PublicAddress, passphrase: d.o.Config.Passphrase,
			capacity: d.o.Config.MaxSessions, sessions: func() int { return d.srv.Snapshot().Sessions },
			interval: time.Duration(d.o.Config.UpdateInterval), log: log,
		}
		g.Go(func() error { a.run(ctx); return nil })
	}
	return g.Wait()
}
