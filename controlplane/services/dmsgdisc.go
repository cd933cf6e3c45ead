package services

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/services/dmsgdisc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// dmsgHTTP is the dmsg port on which services serve HTTP.
const dmsgHTTP = 80

// discFlags are the flags of skysvc dmsgdisc; they go before the file.
type discFlags struct {
	file, addr, store, key     string
	test, noLimits, check      bool
	addrSet, storeSet, testSet bool
	keySet                     bool
}

// addDmsgDisc adds the command dmsgdisc.
func (c *Command) addDmsgDisc() {
	var f discFlags
	defaults := dmsgdisc.DefaultConfig()
	cmd := c.app.Command("dmsgdisc", "Run a dmsg discovery: where clients and relays of a dmsg network publish how they are reached. Flags win over the configuration file.")
	cmd.Flag("config", "A configuration file; without one, the flags are all there is.").Short('c').PlaceHolder("FILE").StringVar(&f.file)
	cmd.Flag("addr", "Where to serve HTTP; "+defaults.Addr+" if nothing else is said.").PlaceHolder("HOST:PORT").IsSetByUser(&f.addrSet).StringVar(&f.addr)
	cmd.Flag("store", "Where entries are kept: bolt:///path/file.db, redis://host:6379, redis+sentinel://host,…/master or redis+cluster://host,….").PlaceHolder("URL").IsSetByUser(&f.storeSet).StringVar(&f.store)
	cmd.Flag("secret-key-file", "Serve over dmsg too, on port 80 of the key in this file (\"skyctl keygen\" makes one).").PlaceHolder("FILE").IsSetByUser(&f.keySet).StringVar(&f.key)
	cmd.Flag("test-mode", "Take servers at loopback addresses.").IsSetByUser(&f.testSet).BoolVar(&f.test)
	cmd.Flag("no-limits", "Do not limit what one address may ask for: for benchmarks and closed networks.").BoolVar(&f.noLimits)
	cmd.Flag("check", "Say everything that is wrong with the configuration, and end.").BoolVar(&f.check)
	c.run[name(cmd)] = func(ctx context.Context) error { return c.dmsgDisc(ctx, f) }
}

func name(cmd *kingpin.CmdClause) string { return cmd.FullCommand() }

// config returns the configuration that file and flags make.
func (f discFlags) config() (dmsgdisc.Config, cipher.SecKey, error) {
	cfg := dmsgdisc.DefaultConfig()
	override := func() {
		if f.addrSet {
			cfg.Addr = f.addr
		}
		if f.storeSet {
			cfg.Store = f.store
		}
		if f.testSet {
			cfg.TestMode = f.test
		}
		if f.noLimits {
			cfg.Limits = dmsgdisc.Limits{}
		}
	}
	validate := func() error { override(); return cfg.Validate() }
	if f.file != "" {
		if err := conf.Load(f.file, &cfg, validate); err != nil {
			return cfg, cipher.SecKey{}, err
		}
	} else if err := validate(); err != nil {
		return cfg, cipher.SecKey{}, f.say(err)
	}
	if f.keySet {
		sk, err := conf.SecretKey("", f.key, cipher.SecKey{})
		return cfg, sk, err
	}
	sk, err := conf.SecretKey(f.file, cfg.SecretKeyFile, cfg.SecretKey)
	return cfg, sk, err
}

// say puts flags for what the configuration calls otherwise.
func (f discFlags) say(err error) error {
	var errs []error
	for _, e := range api.Split(err) {
		var p *api.Problem
		if errors.As(e, &p) {
			e = fmt.Errorf("--%s %s", p.Path, p.Text)
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// dmsgDisc runs the discovery until ctx ends.
func (c *Command) dmsgDisc(ctx context.Context, f discFlags) error {
	cfg, sk, err := f.config()
	if err != nil {
		return err
	}
	if f.check {
		fmt.Fprintln(c.out, "the configuration is fine")
		return nil
	}
	log, err := c.log("dmsgdisc", cfg.LogLevel)
	if err != nil {
		return err
	}
	so := store.DefaultOptions()
	so.Log = log
	st, err := store.Open(ctx, cfg.Store, so)
	if err != nil {
		return err
	}
	defer st.Close()
	o := cfg.Options()
	o.Version, o.Log = c.version, log
	s, err := dmsgdisc.New(st, o)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("cannot serve at %s: %w", cfg.Addr, err)
	}
	l = httpd.Wrap(l, httpd.ListenOptions{PerSource: cfg.Limits.Connections, Proxies: cfg.Proxies})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx, l) })
	if !sk.IsZero() {
		g.Go(func() error { return serveDmsg(ctx, s, sk, cfg.Limits.Connections, log) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	log.Info().Msg("stopped")
	return nil
}

// serveDmsg serves s on dmsg, by way of every server that it knows, on at most perKey
// streams of one key.
func serveDmsg(ctx context.Context, s *dmsgdisc.Service, sk cipher.SecKey, perKey int, log zerolog.Logger) error {
	dc := dmsg.DefaultConfig()
	dc.SecKey, dc.Directory, dc.MinSessions, dc.Log = sk, s, dmsg.AllServers, log
	client, err := dmsg.New(dc)
	if err != nil {
		return err
	}
	l, err := client.Listen(dmsgHTTP)
	if err != nil {
		return fmt.Errorf("listen on dmsg: %w", err)
	}
	s.SetDmsg(func() dmsgdisc.DmsgInfo {
		info := dmsgdisc.DmsgInfo{Address: fmt.Sprintf("%s:%d", client.PubKey(), dmsgHTTP)}
		for _, session := range client.Sessions() {
			info.Servers = append(info.Servers, session.Server)
		}
		return info
	})
	log.Info().Stringer("pk", client.PubKey()).Int("port", dmsgHTTP).Msg("serving over dmsg")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return client.Run(ctx) })
	g.Go(func() error {
		return s.ServeDmsg(ctx, httpd.Wrap(l, httpd.ListenOptions{Over: httpd.OverDmsg, PerSource: perKey}))
	})
	return g.Wait()
}
