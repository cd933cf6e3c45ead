package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// DefaultFile is where the configuration is unless the command line says otherwise:
// in the working directory, as for a service that has one of its own.
const DefaultFile = "skydmsg.json"

const runName = "run" // of a command

// A Command is the command line of skydmsg.
type Command struct {
	app     *kingpin.Application
	out     io.Writer
	err     io.Writer
	version string
	color   bool

	run struct {
		file, keyFile, listen, health, level       string
		discovery, public, passphrase              string
		perAddress                                 int
		fileSet, healthSet, perAddressSet, checkIt bool
	}
	gen struct {
		file, listen, health, discovery, public string
		force                                   bool
	}
}

// NewCommand returns skydmsg. It logs to errw: lines of JSON or, where color says
// that a person is looking, coloured text.
func NewCommand(out, errw io.Writer, version string, color bool) *Command {
	c := &Command{out: out, err: errw, version: version, color: color}
	c.app = cli.New("skydmsg", "Run a dmsg relay: a server that joins streams between clients, which both only need to reach it.", version, out, errw)
	c.runCommand()
	c.configCommand()
	return c
}

// Application returns the description of the command line, for the reference.
func (c *Command) Application() *kingpin.Application { return c.app }

// Main runs skydmsg with args, without the program's name, until ctx ends, and
// returns its exit code. It may be called once.
func (c *Command) Main(ctx context.Context, args []string) int {
	return cli.Main(c.app, args, c.err, func(command string) error {
		if command == runName {
			return c.doRun(ctx)
		}
		return c.doGen()
	})
}

func (c *Command) runCommand() {
	r := &c.run
	cmd := c.app.Command(runName, "Run the relay, from a configuration file or, with --secret-key-file, from flags alone. Flags override the file. It stops at SIGINT or SIGTERM, once its clients have moved, and at once at a second one.")
	cmd.Flag("config", "The configuration file.").Short('c').PlaceHolder("FILE").Default(DefaultFile).IsSetByUser(&r.fileSet).StringVar(&r.file)
	cmd.Flag("secret-key-file", "Run without a configuration file, with the secret key in this file.").PlaceHolder("FILE").StringVar(&r.keyFile)
	cmd.Flag("addr", "Where to listen, [host]:port.").PlaceHolder("ADDR").StringVar(&r.listen)
	cmd.Flag("health-addr", "Where to serve /health and /metrics; empty for nowhere.").PlaceHolder("ADDR").IsSetByUser(&r.healthSet).StringVar(&r.health)
	cmd.Flag("discovery", "URL of the discovery to register at.").PlaceHolder("URL").StringVar(&r.discovery)
	cmd.Flag("public-addr", "The host:port at which clients reach the relay.").PlaceHolder("ADDR").StringVar(&r.public)
	cmd.Flag("limit-ip", "Sessions from one IPv4 address or IPv6 /64; 0 is no limit.").PlaceHolder("N").IsSetByUser(&r.perAddressSet).IntVar(&r.perAddress)
	cmd.Flag("auth", "The discovery's pass-phrase for official relays.").PlaceHolder("TEXT").StringVar(&r.passphrase)
	cmd.Flag("log-level", "debug, info, warn or error.").PlaceHolder("LEVEL").EnumVar(&r.level, "debug", "info", "warn", "error")
	cmd.Flag("check", "Say everything that is wrong with the configuration, and end.").BoolVar(&r.checkIt)
}

// settings returns the configuration that file and flags make together.
func (c *Command) settings() (Config, cipher.SecKey, error) {
	r := &c.run
	var cfg Config
	var sk cipher.SecKey
	var err error
	switch {
	case r.keyFile != "" && r.fileSet:
		return cfg, sk, errors.New("--config and --secret-key-file exclude each other; secret_key_file in the configuration names the key's file")
	case r.keyFile != "":
		cfg = Default()
		cfg.SecretKeyFile = r.keyFile
		sk, err = cipher.LoadSecKey(r.keyFile)
	default:
		cfg, sk, err = Load(r.file)
	}
	if err != nil {
		return cfg, sk, err
	}
	for _, f := range []struct {
		set bool
		to  *string
		v   string
	}{
		{r.listen != "", &cfg.LocalAddress, r.listen},
		{r.healthSet, &cfg.HealthAddress, r.health},
		{r.discovery != "", &cfg.Discovery, r.discovery},
		{r.public != "", &cfg.PublicAddress, r.public},
		{r.passphrase != "", &cfg.Passphrase, r.passphrase},
		{r.level != "", &cfg.LogLevel, r.level},
	} {
		if f.set {
			*f.to = f.v
		}
	}
	if r.perAddressSet {
		cfg.MaxPerAddress = r.perAddress
	}
	return cfg, sk, cfg.Validate()
}

func (c *Command) doRun(ctx context.Context) error {
	cfg, sk, err := c.settings()
	if err != nil {
		return err
	}
	if c.run.checkIt {
		pk, err := sk.PubKey()
		if err == nil {
			fmt.Fprintf(c.out, "the configuration is fine; the relay's key is %s\n", pk)
		}
		return err
	}
	log, err := cli.Logger(c.err, c.color, cfg.LogLevel)
	if err != nil {
		return err
	}
	d, err := New(Options{Config: cfg, SecretKey: sk, Version: c.version, Log: log})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

func (c *Command) configCommand() {
	g := &c.gen
	def := Default()
	cmd := c.app.Command("config", "Make configuration files.")
	gen := cmd.Command("gen", "Write a configuration that works as it is, and a secret key beside it unless there is one.")
	gen.Flag("out", "The file to write.").Short('o').PlaceHolder("FILE").Default(DefaultFile).StringVar(&g.file)
	gen.Flag("force", "Replace the configuration if there is one; the secret key stays.").BoolVar(&g.force)
	gen.Flag("addr", "Where to listen, [host]:port.").PlaceHolder("ADDR").Default(def.LocalAddress).StringVar(&g.listen)
	gen.Flag("health-addr", "Where to serve /health and /metrics; empty for nowhere.").PlaceHolder("ADDR").Default(def.HealthAddress).StringVar(&g.health)
	gen.Flag("discovery", "URL of the discovery to register at; needs --public-addr.").PlaceHolder("URL").StringVar(&g.discovery)
	gen.Flag("public-addr", "The host:port at which clients reach the relay.").PlaceHolder("ADDR").StringVar(&g.public)
}

func (c *Command) doGen() error {
	g := &c.gen
	if _, err := os.Lstat(g.file); err == nil && !g.force {
		return fmt.Errorf("%s exists; choose another file, or replace it with --force", g.file)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(g.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cfg := Default()
	cfg.SecretKeyFile = keyFileName
	cfg.LocalAddress, cfg.HealthAddress, cfg.Discovery, cfg.PublicAddress = g.listen, g.health, g.discovery, g.public
	if err := cfg.Validate(); err != nil { // before there is a key
		return err
	}
	pk, err := haveKey(filepath.Join(dir, keyFileName))
	if err != nil {
		return err
	}
	if err := conf.Save(g.file, cfg, cfg.Validate); err != nil {
		return err
	}
	run := "skydmsg run"
	if g.file != DefaultFile {
		run += " --config " + g.file
	}
	fmt.Fprintf(c.out, "wrote %s\nthis relay's key is\n  %s\nstart it with\n  %s\n", g.file, pk, run)
	return nil
}
