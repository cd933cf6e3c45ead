// Package ctl is skyctl, the command line of a visor: it makes keys and
// configurations, and commands a running visor through its API.
//
// Tables are for people and may change; with --json each command prints what the
// API answered, one JSON value, and errors too are JSON, on standard error.
package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Exit codes.
const (
	ExitOK      = 0
	ExitFailed  = 1 // the command was understood and failed
	ExitUsage   = 2 // the command line is wrong
	ExitNoVisor = 3 // no visor answers
)

// A Program is one run of skyctl.
type Program struct {
	app *kingpin.Application
	in  io.Reader
	out io.Writer
	err io.Writer
	ctx context.Context

	socket    string
	visor     cipher.PubKey // another one than that at the socket, if it is not zero
	discovery string        // of dmsg, where no flag names one
	json      bool

	mu sync.Mutex // one line at a time
}

// New returns skyctl, which writes what it has to say to out, and what went wrong
// to errw. defaultSocket is where it looks for a visor unless it is told otherwise,
// "" being the visor's own default.
func New(out, errw io.Writer, version, defaultSocket string) *Program {
	if defaultSocket == "" {
		defaultSocket = config.Socket()
	}
	p := &Program{in: os.Stdin, out: out, err: errw}
	p.app = cli.New("skyctl", "Make keys and configurations, and command a running visor.", version, out, errw)
	p.app.Flag("socket", "The visor's API socket (environment: SKYWIRE_SOCKET).").PlaceHolder("PATH").Default(defaultSocket).StringVar(&p.socket)
	p.app.Flag("json", "Print JSON in place of tables.").BoolVar(&p.json)
	p.app.Flag("visor", "Command the visor with this key in place of one's own, by way of one's own, whose key must be in management.allow there.").PlaceHolder("PK").SetValue(keyValue{&p.visor})
	p.keygen()
	p.config()
	p.status()
	p.doctor()
	p.visorCommands()
	p.transport()
	p.link()
	p.route()
	p.ping()
	p.forward()
	p.services()
	p.dmsg()
	p.completion()
	return p
}

// Application returns the description of the command line, for the reference.
func (p *Program) Application() *kingpin.Application { return p.app }

// A failed error is one of a command, not of the command line.
type failed struct{ error }

func (f failed) Unwrap() error { return f.error }

// Main runs skyctl with args, without the program's name, and returns its exit
// code. It may be called once. ctx ends what takes long.
func (p *Program) Main(ctx context.Context, args []string) int {
	p.ctx = ctx
	_, err := cli.Parse(p.app, completing(args))
	var exit cli.Exit
	var f failed
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return int(exit)
	case !errors.As(err, &f):
		p.complain(api.ErrBadRequest.With("%v; try \"skyctl --help\"", err))
		return ExitUsage
	}
	p.complain(f.error)
	if errors.Is(err, api.ErrNoVisor) {
		return ExitNoVisor
	}
	return ExitFailed
}

// complain prints err.
func (p *Program) complain(err error) {
	if !p.json {
		fmt.Fprintf(p.err, "skyctl: %v\n", err)
		return
	}
	e := api.ErrInternal.With("%v", err)
	var coded *api.Error
	if errors.As(err, &coded) {
		e.Code = coded.Code
	}
	b, _ := json.Marshal(e) // two strings
	fmt.Fprintf(p.err, "%s\n", b)
}

// do makes f the action of cmd.
func (p *Program) do(cmd *kingpin.CmdClause, f func(ctx context.Context) error) *kingpin.CmdClause {
	return cmd.Action(func(*kingpin.ParseContext) error {
		if err := f(p.ctx); err != nil {
			return failed{err}
		}
		return nil
	})
}

// call is do for commands that talk to the visor.
func (p *Program) call(cmd *kingpin.CmdClause, f func(ctx context.Context, visor *api.Client) error) *kingpin.CmdClause {
	return p.do(cmd, func(ctx context.Context) error {
		visor := api.NewClient(p.socket)
		defer visor.Close()
		if !p.visor.IsZero() {
			visor = visor.For(p.visor)
		}
		return f(ctx, visor)
	})
}

// print writes v as JSON if that is wanted, and else has human do it.
func (p *Program) print(v any, human func()) error {
	if !p.json {
		human()
		return nil
	}
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// say prints a line for people.
func (p *Program) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// saveFlag adds --save to a command that changes something.
func saveFlag(cmd *kingpin.CmdClause) *bool {
	return cmd.Flag("save", "Also change the visor's configuration file; otherwise the change is gone after a restart.").Bool()
}

// added reports that something, named by suffix, was added.
func (p *Program) added(suffix string, save bool, v any) error {
	return p.print(v, func() {
		if save {
			p.say("added%s, and saved", suffix)
		} else {
			p.say("added%s until the visor restarts (--save keeps it)", suffix)
		}
	})
}

// removed reports that something was removed.
func (p *Program) removed(save bool, v any) error {
	return p.print(v, func() {
		if save {
			p.say("removed, from the configuration file too")
		} else {
			p.say("removed; if the configuration file has it, it is back after a restart (--save removes it there too)")
		}
	})
}
