package services

import (
	"context"
	"fmt"
	"net"

	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/services/httpd"
)

// allFlags are the flags of skysvc all; they go before the file.
type allFlags struct {
	file                   string
	text                   map[string]*textFlag
	setup, noLimits, check bool
	setupSet               bool
}

// A textFlag is a flag that takes a text, which may be empty.
type textFlag struct {
	value string
	set   bool
}

// addAll adds the command all.
func (c *Command) addAll() {
	f := allFlags{text: map[string]*textFlag{}}
	d := DefaultAllConfig()
	cmd := c.app.Command("all", "Run a whole deployment in one process: all services on one port, STUN, a setup node and a relay. It makes its keys at the first start. Flags win over the configuration file.")
	text := func(name, placeholder, help string) {
		t := &textFlag{}
		f.text[name] = t
		cmd.Flag(name, help).PlaceHolder(placeholder).IsSetByUser(&t.set).StringVar(&t.value)
	}
	cmd.Flag("config", "A configuration file; without one, the flags are all there is.").Short('c').PlaceHolder("FILE").StringVar(&f.file)
	text("dir", "DIR", "The folder for keys and store; "+d.Dir+" in the working directory if nothing else is said.")
	text("name", "TEXT", "How people call the deployment; \""+d.Name+"\" if nothing else is said.")
	text("addr", "HOST:PORT", "Where to serve HTTP; "+d.Addr+" if nothing else is said.")
	text("stun-addr", "HOST:PORT", "The first of two UDP ports for STUN, the second being the next one; "+d.STUNAddr+" if nothing else is said, empty for none.")
	text("relay-addr", "HOST:PORT", "Where the dmsg relay listens; "+d.RelayAddr+" if nothing else is said, empty for none.")
	text("public-host", "HOST", "The name or address by which visors reach this machine; the one at which they call if nothing is said. Needed behind NAT.")
	text("public-url", "URL", "Where a TLS proxy serves the HTTP part.")
	text("store", "URL", "Where entries are kept: redis://host:6379 and the like; a file in the folder if nothing is said.")
	text("geo-database", "FILE", "A file in the MaxMind DB format that tells where addresses are.")
	cmd.Flag("setup-node", "Run a setup node (--no-setup-node: do not).").Default("true").IsSetByUser(&f.setupSet).BoolVar(&f.setup)
	cmd.Flag("no-limits", "Do not limit what one address or key may ask for: for benchmarks and closed networks.").BoolVar(&f.noLimits)
	cmd.Flag("check", "Say everything that is wrong with the configuration, and end.").BoolVar(&f.check)
	c.run[cmd.FullCommand()] = func(ctx context.Context) error { return c.all(ctx, f) }
}

// config returns the configuration that file and flags make.
func (f allFlags) config() (AllConfig, error) {
	cfg := DefaultAllConfig()
	validate := func() error {
		for name, to := range map[string]*string{
			"dir": &cfg.Dir, "name": &cfg.Name, "addr": &cfg.Addr, "stun-addr": &cfg.STUNAddr, "relay-addr": &cfg.RelayAddr,
			"public-host": &cfg.PublicHost, "public-url": &cfg.PublicURL, "store": &cfg.Store, "geo-database": &cfg.GeoDatabase,
		} {
			if t := f.text[name]; t.set {
				*to = t.value
			} else if f.file != "" && (name == "dir" || name == "geo-database") && *to != "" {
				*to = conf.Resolve(f.file, *to)
			}
		}
		if f.setupSet {
			cfg.SetupNode = f.setup
		}
		if f.noLimits {
			cfg.Connections, cfg.Limits = 0, httpd.Limits{}
		}
		return cfg.Validate()
	}
	if f.file != "" {
		return cfg, conf.Load(f.file, &cfg, validate)
	}
	return cfg, sayFlags(validate())
}

// all runs the deployment until ctx ends.
func (c *Command) all(ctx context.Context, f allFlags) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if f.check {
		fmt.Fprintln(c.out, "the configuration is fine")
		return nil
	}
	log, err := c.log("", cfg.LogLevel)
	if err != nil {
		return err
	}
	w, err := newWhole(ctx, cfg, c.version, log)
	if err != nil {
		return err
	}
	err = w.run(ctx, func() {
		c.welcome(w)
		log.Info().Stringer("pk", w.pk).Stringer("addr", w.l.Addr()).Msg("deployment is up")
	})
	if err == nil {
		log.Info().Msg("stopped")
	}
	return err
}

// welcome prints what runs and what to type next.
func (c *Command) welcome(w *whole) {
	host, sure := w.cfg.host()
	at := "http://" + net.JoinHostPort(host, port(w.l.Addr()))
	if w.cfg.PublicURL != "" {
		at = w.base()
	}
	say := func(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }
	say("The deployment %q is up. Its key is", w.cfg.Name)
	say("  %s", w.pk)
	say("and its services are at")
	say("  %-8s%s, dmsg://%s:%d", "HTTP", at, w.pk, dmsgHTTP)
	if w.stun != nil {
		say("  %-8s%s and the next port, UDP", "STUN", net.JoinHostPort(host, fmt.Sprint(w.stun.Addr().Port())))
	}
	if w.relay != nil {
		say("  %-8s%s@%s", "relay", w.relayPK, net.JoinHostPort(host, port(w.relay.Addr())))
	}
	say("")
	say("On each machine that is to join, type")
	say("  skyctl config gen --deployment %s", at)
	say("  skyvisor")
	if !sure && w.cfg.PublicURL == "" {
		say("(Say --public-host if others reach this machine by another address than %s.)", host)
	}
}
