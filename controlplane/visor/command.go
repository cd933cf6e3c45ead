package visor

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/visor/config"
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
	c.app = cli.New("skyvisor", "Run a visor: a node of the overlay, reachable by its public key. It stops at SIGINT or SIGTERM, and reads its configuration again at SIGHUP. \"skyctl config gen\" writes a configuration to begin with.", version, out, errw)
	c.app.Flag("config", "The configuration file.").Short('c').PlaceHolder("FILE").Default(config.File()).StringVar(&c.file)
	c.app.Flag("check", "Say everything that is wrong with the configuration, and end.").BoolVar(&c.check)
	c.app.Flag("log-level", "debug, info, warn or error; the default is the configuration's.").PlaceHolder("LEVEL").EnumVar(&c.level, "debug", "info", "warn", "error")
	return c
}

// Application returns the description of the command line, for the reference.
func (c *Command) Application() *kingpin.Application { return c.app }

// Main runs the visor until ctx ends, and returns the exit code.
func (c *Command) Main(ctx context.Context, args []string) int {
	return cli.Main(c.app, args, c.err, func(string) error { return c.run(ctx) })
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
	log, err := cli.Logger(c.err, c.color, zerolog.LevelTraceValue) // the global level decides
	if err != nil {
		return err
	}
	setLevel(c.level)
	UseProcessors(cfg.Workers)
	v, err := New(Options{Config: cfg, File: c.file, SecretKey: sk, Version: c.version, Log: log, SetLevel: setLevel})
	if err != nil {
		return err
	}
	defer reloadOnHangup(ctx, v)()
	return v.Run(ctx)
}

// setLevel sets what this process logs; for the main program alone, like UseProcessors.
func setLevel(level string) {
	if l, err := zerolog.ParseLevel(level); err == nil {
		zerolog.SetGlobalLevel(l)
	}
}

// reloadOnHangup has v read its configuration again at each SIGHUP, until the function
// that it returns is called.
func reloadOnHangup(ctx context.Context, v *Visor) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-hangup:
				if _, err := v.Reload(ctx); err != nil {
					v.log.Error().Err(err).Msg("the configuration was not reloaded")
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		cancel()
		<-done
	}
}
