// Package services is the command line of the deployment's services, skysvc. Each
// service is a package below this folder and a command here.
package services

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // a service stopped because of an error, or did not start
	ExitUsage  = 2 // the command line is wrong
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
	c.app = kingpin.New("skysvc", "Run a service of a deployment. It stops at SIGINT or SIGTERM.")
	c.app.UsageWriter(out).ErrorWriter(errw).Version(version)
	c.app.Terminate(func(code int) { panic(exit(code)) })
	c.app.HelpFlag.Short('h')
	c.app.Flag("log-level", "debug, info, warn or error; the default is the configuration's.").PlaceHolder("LEVEL").EnumVar(&c.level, "debug", "info", "warn", "error")
	c.addDmsgDisc()
	return c
}

// Application returns the description of the command line, for the reference.
func (c *Command) Application() *kingpin.Application { return c.app }

// exit leaves kingpin, which wants to end the process after --help.
type exit int

// Main runs the service that args name until ctx ends, and returns the exit code.
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
	name, err := c.app.Parse(args)
	if err != nil {
		fmt.Fprintf(c.err, "skysvc: %v; try \"skysvc --help\"\n", err)
		return ExitUsage
	}
	if err := c.run[name](ctx); err != nil {
		fmt.Fprintf(c.err, "skysvc: %v\n", err)
		return ExitFailed
	}
	return ExitOK
}

// log returns the logger of a service whose configuration says level.
func (c *Command) log(service, level string) (zerolog.Logger, error) {
	if c.level != "" {
		level = c.level
	}
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), err
	}
	w := c.err
	if c.color {
		w = zerolog.ConsoleWriter{Out: c.err, TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(w).Level(l).With().Timestamp().Str("service", service).Logger(), nil
}
