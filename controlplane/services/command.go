// Package services is the command line of the deployment's services, skysvc. Each
// service is a package below this folder and a command here.
package services

import (
	"context"
	"io"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/cli"
)

// A Command is the command line of skysvc.
type Command struct {
	app     *kingpin.Application
	out     io.Writer
	err     io.Writer
	version string
	color   bool
	level   string
	run     map[string]func(context.Context) error // by the command's name
}

// NewCommand returns skysvc. It logs to errw: lines of JSON or, where color says
// that a person is looking, coloured text.
func NewCommand(out, errw io.Writer, version string, color bool) *Command {
	c := &Command{out: out, err: errw, version: version, color: color, run: map[string]func(context.Context) error{}}
	c.app = cli.New("skysvc", "Run a service of a deployment. It stops at SIGINT or SIGTERM.", version, out, errw)
	c.app.Flag("log-level", "debug, info, warn or error; the default is the configuration's.").PlaceHolder("LEVEL").EnumVar(&c.level, "debug", "info", "warn", "error")
	c.addAll()
	c.addDmsgDisc()
	for _, s := range singles() {
		c.addSingle(s)
	}
	return c
}

// Application returns the description of the command line, for the reference.
func (c *Command) Application() *kingpin.Application { return c.app }

// Main runs the service that args name until ctx ends, and returns the exit code.
func (c *Command) Main(ctx context.Context, args []string) int {
	return cli.Main(c.app, args, c.err, func(command string) error { return c.run[command](ctx) })
}

// log returns the logger of a service whose configuration says level; "" is all of
// them.
func (c *Command) log(service, level string) (zerolog.Logger, error) {
	if c.level != "" {
		level = c.level
	}
	log, err := cli.Logger(c.err, c.color, level)
	if service != "" {
		log = log.With().Str("service", service).Logger()
	}
	return log, err
}
