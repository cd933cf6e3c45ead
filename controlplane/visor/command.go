package visor

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/visor/config"
)

// Exit codes of the daemon.
const (
	ExitOK     = 0
	ExitFailed = 1 // it stopped because of an error, or did not start
	ExitUsage  = 2 // the command line is wrong
)

// A Command is the command line of skyvisor.
type Command struct {
	app     *kingpin.Application
	out     io.Writer
	err     io.Writer
	version string

	file  string
	check bool
	color bool
	level string
}

// NewCommand returns skyvisor. It logs to errw: lines of JSON or, where color says
// that a person is looking, coloured text.
func NewCommand(out, errw io.Writer, version string, color bool) *Command {
	c := &Command{out: out, err: errw, version: version, color: color}
	c.app = kingpin.New("skyvisor", "Run a visor: a node of the overlay, reachable by its public key. It stops at SIGINT or SIGTERM. \"skyctl config gen\" writes a configuration to begin with.")
	c.app.UsageWriter(out).ErrorWriter(errw).Version(version)
	c.app.Terminate(func(code int) { panic(exit(code)) })
	c.app.HelpFlag.Short('h')
	c.app.Flag("config", "The configuration file.").Short('c').PlaceHolder("FILE").Default(config.File()).StringVar(&c.file)
	c.app.Flag("check", "Say everything that is wrong with the configuration, and end.").BoolVar(&c.check)
	c.app.Flag("log-level", "debug, info, warn or error; the default is the configuration's.").PlaceHolder("LEVEL").EnumVar(&c.level, "debug", "info", "warn", "error")
	return c
}

// Application returns the description of the command line, for the reference.
func (c *Command) Application() *kingpin.Application { return c.app }

// exit leaves kingpin, which wants to end the process after --help.
type exit int

// Main runs the visor until ctx ends, and returns the exit code.
func (c *Command) Main(ctx context.Context, args []string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exit)
			if !ok {
				panic(r)
			}
			code = int(e)
		}
	}()
	if _, err := c.app.Parse(args); err != nil {
		fmt.Fprintf(c.err, "skyvisor: %v; try \"skyvisor --help\"\n", err)
		return ExitUsage
	}
	if err := c.run(ctx); err != nil {
		fmt.Fprintf(c.err, "skyvisor: %v\n", err)
		return ExitFailed
	}
	return ExitOK
}

func (c *Command) run(ctx context.Context) error {
	cfg, sk, err := config.Load(c.file)
	if err != nil {
		return err
	}
	pk, err := sk.PubKey()
	if err != nil {
		return err
	}
	if c.check {
		fmt.Fprintf(c.out, "%s is fine; the visor's key is %s\n", c.file, pk)
		return nil
	}
	if c.level == "" {
		c.level = cfg.LogLevel
	}
	level, err := zerolog.ParseLevel(c.level)
	if err != nil {
		return err
	}
	w := c.err
	if c.color {
		w = zerolog.ConsoleWriter{Out: c.err, TimeFormat: "15:04:05.000"}
	}
	log := zerolog.New(w).Level(level).With().Timestamp().Logger()
	UseProcessors(cfg.Workers)
	v, err := New(Options{Config: cfg, File: c.file, SecretKey: sk, Version: c.version, Log: log})
	if err != nil {
		return err
	}
	return v.Run(ctx)
}
