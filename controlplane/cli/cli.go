// Package cli is what the command lines of all programs have in common: how they are
// parsed inside a process that goes on, what they say and return, and how they log.
package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"
	"github.com/rs/zerolog"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // the program stopped because of an error, or did not start
	ExitUsage  = 2 // the command line is wrong
)

// New returns the description of a command line, for Parse or Main. Help goes to
// out, what is wrong to errw.
func New(name, help, version string, out, errw io.Writer) *kingpin.Application {
	app := kingpin.New(name, help)
	app.UsageWriter(out).ErrorWriter(errw).Version(version)
	app.Terminate(func(code int) { panic(Exit(code)) })
	app.HelpFlag.Short('h')
	return app
}

// An Exit is the end, with that exit code, of a command line that asked for no more
// than --help or --version.
type Exit int

// Error says the code.
func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Parse parses args, without the program's name, with an application from New, runs
// the actions and returns the command's full name. The error is an Exit where kingpin
// would have ended the process.
func Parse(app *kingpin.Application, args []string) (command string, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(Exit)
			if !ok {
				panic(r)
			}
			err = e
		}
	}()
	return app.Parse(args)
}

// Main parses args, calls run with the command's full name ("" if app has none), says
// on errw what went wrong and returns the exit code. Call it once.
func Main(app *kingpin.Application, args []string, errw io.Writer, run func(command string) error) int {
	command, err := Parse(app, args)
	var exit Exit
	switch {
	case errors.As(err, &exit):
		return int(exit)
	case err != nil:
		fmt.Fprintf(errw, "%s: %v; try \"%s --help\"\n", app.Name, err, app.Name)
		return ExitUsage
	}
	if err := run(command); err != nil {
		fmt.Fprintf(errw, "%s: %v\n", app.Name, err)
		return ExitFailed
	}
	return ExitOK
}

// Logger returns a logger that writes to w: lines of JSON or, where color says that a
// person is looking, coloured text. It fails where level is none of zerolog's.
func Logger(w io.Writer, color bool, level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), err
	}
	if color {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger(), nil
}
