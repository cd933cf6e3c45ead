package services

import (
	"context"
	"fmt"
	"net"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/services/dmsgdisc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

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
	c.run[cmd.FullCommand()] = func(ctx context.Context) error { return c.dmsgDisc(ctx, f) }
}

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
		return cfg, cipher.SecKey{}, sayFlags(err)
	}
	if f.keySet {
		sk, err := conf.SecretKey("", f.key, cipher.SecKey{})
		return cfg, sk, err
	}
	sk, err := conf.SecretKey(f.file, cfg.SecretKeyFile, cfg.SecretKey)
	return cfg, sk, err
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
	st, err := openStore(ctx, cfg.Store, log)
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
	l, err := listen(cfg.Addr, httpd.ListenOptions{PerSource: cfg.Limits.Connections, Proxies: cfg.Proxies})
	if err != nil {
		return err
	}
	h := server{host: s.Host(), sk: sk, directory: s, perKey: cfg.Limits.Connections, log: log}
	if err := h.run(ctx, l, func() { log.Info().Stringer("addr", l.Addr()).Msg("discovery is up") }); err != nil {
		return err
	}
	log.Info().Msg("stopped")
	return nil
}

// openStore opens the store at url.
func openStore(ctx context.Context, url string, log zerolog.Logger) (store.Store, error) {
	o := store.DefaultOptions()
	o.Log = log
	return store.Open(ctx, url, o)
}

// listen listens at addr.
func listen(addr string, o httpd.ListenOptions) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot serve at %s: %w", addr, err)
	}
	return httpd.Wrap(l, o), nil
}
