package services

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/nonce"
	"github.com/skyminer/skywire/controlplane/services/servicedisc"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A single is a service that runs alone.
type single struct {
	name, help, addr string // addr: the deployed port
	needsStore       bool
	geo, stun, conf  bool   // takes the setting of that name
	asks             bool   // whatever the method, a request only asks
	needsKey         bool   // cannot do without a key
	keyAlone         bool   // has use for a key without a dmsg discovery
	keyFor           string // what it needs the key for
	// make makes the service; nil: it is none of HTTP.
	make func(p parts) (httpd.Service, error)
}

// parts are what a service is made of.
type parts struct {
	cfg      *SingleConfig
	sk       cipher.SecKey // may be zero
	st       store.Store   // nil: needs none
	verifier *httpauth.Verifier
	geo      *servicedisc.Database // nil: none
	free     bool                  // no limits
	log      zerolog.Logger
}

// singleFlags are the flags of a service; they go before the file.
type singleFlags struct {
	file, addr, store, key, dmsg, geo, stun                    string
	addrSet, storeSet, keySet, dmsgSet, geoSet, stunSet, limit bool
	hosts                                                      []string
	check                                                      bool
}

// addSingle adds the command of a service.
func (c *Command) addSingle(s single) {
	var f singleFlags
	cmd := c.app.Command(s.name, s.help+" Flags win over the configuration file.")
	flag := func(name, placeholder, help string, set *bool, to *string) {
		cmd.Flag(name, help).PlaceHolder(placeholder).IsSetByUser(set).StringVar(to)
	}
	cmd.Flag("config", "A configuration file; without one, the flags are all there is.").Short('c').PlaceHolder("FILE").StringVar(&f.file)
	if s.addr != "" {
		flag("addr", "HOST:PORT", "Where to serve HTTP; "+s.addr+" if nothing else is said.", &f.addrSet, &f.addr)
	}
	if s.needsStore {
		flag("store", "URL", "Where entries are kept: bolt:///path/file.db, redis://host:6379, redis+sentinel://host,…/master or redis+cluster://host,….", &f.storeSet, &f.store)
		cmd.Flag("host", "A name under which callers reach the service; may be repeated.").PlaceHolder("NAME").StringsVar(&f.hosts)
	}
	keyHelp := "Serve over dmsg too, on port 80 of the key in this file (\"skyctl keygen\" makes one)."
	if s.needsKey {
		keyHelp = "The file with the secret key: " + s.keyFor + "."
	}
	flag("secret-key-file", "FILE", keyHelp, &f.keySet, &f.key)
	flag("dmsg-discovery", "URL", "The dmsg discovery that knows the relays.", &f.dmsgSet, &f.dmsg)
	if s.stun {
		flag("stun-addr", "HOST:PORT", "The first of two UDP ports for STUN, the second being the next one; :3478 if nothing else is said, empty for none.", &f.stunSet, &f.stun)
	}
	if s.geo {
		flag("geo-database", "FILE", "A file in the MaxMind DB format that tells where addresses are.", &f.geoSet, &f.geo)
	}
	if s.addr != "" {
		cmd.Flag("no-limits", "Do not limit what one address or key may ask for: for benchmarks and closed networks.").BoolVar(&f.limit)
	}
	cmd.Flag("check", "Say everything that is wrong with the configuration, and end.").BoolVar(&f.check)
	c.runSingle(cmd, s, &f)
}

func (c *Command) runSingle(cmd *kingpin.CmdClause, s single, f *singleFlags) {
	c.run[cmd.FullCommand()] = func(ctx context.Context) error {
		cfg, sk, err := f.config(&s)
		if err != nil {
			return err
		}
		if f.check {
			fmt.Fprintln(c.out, "the configuration is fine")
			return nil
		}
		log, err := c.log(s.name, cfg.LogLevel)
		if err != nil {
			return err
		}
		if err := c.single(ctx, &s, &cfg, sk, log); err != nil {
			return err
		}
		log.Info().Msg("stopped")
		return nil
	}
}

// config returns the configuration that file and flags make, and the key.
func (f *singleFlags) config(s *single) (SingleConfig, cipher.SecKey, error) {
	cfg := DefaultSingleConfig(s.addr)
	if s.stun {
		cfg.STUNAddr = ":3478"
	}
	validate := func() error {
		for _, o := range []struct {
			set  bool
			from string
			to   *string
		}{
			{f.addrSet, f.addr, &cfg.Addr}, {f.storeSet, f.store, &cfg.Store}, {f.keySet, f.key, &cfg.SecretKeyFile},
			{f.dmsgSet, f.dmsg, &cfg.DmsgDiscovery}, {f.stunSet, f.stun, &cfg.STUNAddr},
		} {
			if o.set {
				*o.to = o.from
			}
		}
		if f.keySet {
			cfg.SecretKey = cipher.SecKey{}
		}
		switch {
		case f.geoSet:
			cfg.GeoDatabase = f.geo
		case cfg.GeoDatabase != "":
			cfg.GeoDatabase = conf.Resolve(f.file, cfg.GeoDatabase)
		}
		cfg.Hosts = append(cfg.Hosts, f.hosts...)
		if f.limit {
			cfg.Connections, cfg.Limits = 0, httpd.Limits{}
		}
		return cfg.validate(s)
	}
	if f.file != "" {
		if err := conf.Load(f.file, &cfg, validate); err != nil {
			return cfg, cipher.SecKey{}, err
		}
	} else if err := validate(); err != nil {
		return cfg, cipher.SecKey{}, sayFlags(err)
	}
	from := f.file
	if f.keySet {
		from = "" // the flag's path is relative to the working directory
	}
	sk, err := conf.SecretKey(from, cfg.SecretKeyFile, cfg.SecretKey)
	return cfg, sk, err
}

// single runs a service until ctx ends.
func (c *Command) single(ctx context.Context, s *single, cfg *SingleConfig, sk cipher.SecKey, log zerolog.Logger) error {
	p := parts{cfg: cfg, sk: sk, free: cfg.Limits.Writes == 0, log: log}
	vo := httpauth.Options{Hosts: cfg.Hosts}
	if !sk.IsZero() {
		var err error
		if vo.Key, err = sk.PubKey(); err != nil {
			return fmt.Errorf("secret key: %w", err)
		}
	}
	if s.needsStore {
		var err error
		if p.st, err = openStore(ctx, cfg.Store, log); err != nil {
			return err
		}
		defer p.st.Close()
		vo.Nonces = nonce.New(p.st, time.Now)
	}
	p.verifier = httpauth.NewVerifier(vo)
	if cfg.GeoDatabase != "" {
		var err error
		if p.geo, err = servicedisc.OpenDatabase(cfg.GeoDatabase); err != nil {
			return err
		}
		defer p.geo.Close()
	}
	var directory disc.Directory
	if cfg.DmsgDiscovery != "" {
		d, err := disc.New(cfg.DmsgDiscovery, disc.HTTPOptions{})
		if err != nil {
			return err
		}
		defer d.Close()
		directory = d
	}
	if s.make == nil {
		return c.setupNode(ctx, sk, directory, log)
	}
	service, err := s.make(p)
	if err != nil {
		return err
	}
	limits := cfg.Limits
	if s.asks {
		limits.Writes = limits.Reads
	}
	mounts := []httpd.Mount{{Name: s.name, Service: service, Limits: limits}}
	var more func(context.Context, *dmsg.Client) error
	if s.stun && cfg.STUNAddr != "" {
		stun, err := newSTUN(cfg.STUNAddr, p.free, log)
		if err != nil {
			return err
		}
		defer stun.Close()
		mounts = append(mounts, stunMount(stun))
		more = func(ctx context.Context, _ *dmsg.Client) error { return stun.Run(ctx) }
	}
	l, err := listen(cfg.Addr, httpd.ListenOptions{PerSource: cfg.Connections, Proxies: cfg.Proxies})
	if err != nil {
		return err
	}
	h := httpd.NewHost(httpd.HostOptions{Version: c.version, Now: time.Now, Log: log}, mounts...)
	if directory == nil {
		sk = cipher.SecKey{} // it signs with the key and is not on dmsg
	}
	sv := server{host: h, sk: sk, directory: directory, perKey: cfg.Connections, log: log, more: more}
	return sv.run(ctx, l, func() { log.Info().Stringer("addr", l.Addr()).Msg("service is up") })
}
