// Package bench is skybench: it measures the project on one machine, in network
// namespaces that it makes and removes itself. Scenarios stand in package
// scenario, the comparison with other software in package vs.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/scenario"
	"github.com/skyminer/skywire/controlplane/cli"
)

// exitInterrupted is what Main returns besides the codes of package cli: 128 + SIGINT,
// as shells have it.
const exitInterrupted = 130

const about = `Benchmarks of Skywire, in network namespaces that are made and removed again.

Needs root and Linux. Results go to stdout, progress to stderr. A figure worth
quoting takes at least 7 pairs of at least 2 seconds on a machine that does
nothing else; that is the default.`

// A program is one invocation of skybench.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	options run.Options
	seconds float64
	results string // directory, empty to save nothing
	json    bool
	name    string // of the scenario
	profile string // of a role
	config  string // of a role
}

// Main runs skybench of the given version with the arguments after the program's name
// and returns its exit code: 0, 1 if the run failed, 2 for wrong usage, 130 if
// interrupted.
func Main(args []string, version string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, options: run.DefaultOptions()}
	app := cli.New("skybench", about, version, stdout, stderr)
	p.commands(app)
	if len(args) == 0 {
		app.UsageWriter(stderr).Usage(nil)
		return cli.ExitUsage
	}
	command, err := cli.Parse(app, args)
	var exit cli.Exit
	switch {
	case errors.As(err, &exit):
		return int(exit)
	case err != nil:
		fmt.Fprintf(stderr, "skybench: %v, try --help\n", err)
		return cli.ExitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait for the cleaning up
	switch err := p.do(ctx, command); {
	case err == nil:
		return cli.ExitOK
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "skybench: interrupted")
		return exitInterrupted
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, err)
		return cli.ExitUsage
	default:
		fmt.Fprintln(stderr, err)
		return cli.ExitFailed
	}
}

var errUsage = errors.New("skybench: wrong usage")

// commands declares the command line.
func (p *program) commands(app *kingpin.Application) {
	list := app.Command("list", "List the scenarios.")
	list.Flag("json", "Print JSON.").BoolVar(&p.json)

	one := app.Command("run", "Run one scenario and print what it found.")
	one.Arg("scenario", "Its name, see skybench list.").Required().HintAction(names).StringVar(&p.name)
	one.Flag("hops", "Encrypted hops between the ends.").Default("1").IntVar(&p.options.Hops)
	one.Flag("transport", "Transport of the links: sudph or stcpr.").Default("sudph").EnumVar(&p.options.Transport, "sudph", "stcpr")
	one.Flag("streams", "Parallel streams.").Default("1").IntVar(&p.options.Streams)
	one.Flag("size", "Bytes per message; 0 lets the scenario choose.").Default("0").IntVar(&p.options.Size)
	one.Flag("sessions", "Idle sessions of relay-idle, entries of disc; 0 lets the scenario choose.").Default("0").IntVar(&p.options.Sessions)
	one.Flag("visors", "Simulated visors of services; 0 lets the scenario choose.").Default("0").IntVar(&p.options.Visors)
	one.Flag("store", "What disc keeps its entries in: bolt or redis.").Default("bolt").EnumVar(&p.options.Store, "bolt", "redis")
	one.Flag("verify", "Compare every byte of a transfer; slower.").BoolVar(&p.options.Verify)
	p.common(one)

	versus := app.Command("vs", "Compare one TCP stream through Skywire with plain TCP, wireguard-go and nebula.")
	versus.Flag("streams", "Parallel streams.").Default("1").IntVar(&p.options.Streams)
	p.common(versus)

	for _, r := range scenario.Roles() {
		c := app.Command(r.Name, "Helper process of a scenario.").Hidden()
		c.Flag("profile", "File for the CPU profile.").StringVar(&p.profile)
		c.Arg("config", "JSON.").Required().StringVar(&p.config)
	}
}

// common adds what all measuring commands have.
func (p *program) common(c *kingpin.CmdClause) {
	c.Flag("json", "Print one JSON object instead of a table.").BoolVar(&p.json)
	c.Flag("pairs", "Rounds, each of which measures every contestant once.").Default("7").IntVar(&p.options.Pairs)
	c.Flag("seconds", "Length of one measurement.").Default("2").Float64Var(&p.seconds)
	c.Flag("profile", "Write CPU profiles of all processes into this directory.").PlaceHolder("DIR").StringVar(&p.options.Profile)
	c.Flag("results", "Save the result in this directory too; empty for none.").PlaceHolder("DIR").Default("bench/results").StringVar(&p.results)
}

func (p *program) do(ctx context.Context, command string) error {
	switch command {
	case "list":
		return p.list()
	case "run":
		s, ok := scenario.Find(p.name)
		if !ok && len(scenario.All()) > 0 {
			return fmt.Errorf("%w: no scenario %q, there are %s", errUsage, p.name, strings.Join(names(), ", "))
		}
		return p.measure(ctx, s)
	case "vs":
		return p.measure(ctx, scenario.Versus())
	}
	for _, r := range scenario.Roles() {
		if r.Name == command {
			return r.Serve(ctx, []byte(p.config), p.profile, p.stdin, p.stdout)
		}
	}
	return fmt.Errorf("%w: no command %q", errUsage, command)
}

// measure runs s, prints and saves what it found.
func (p *program) measure(ctx context.Context, s run.Scenario) error {
	if s.Run == nil {
		return run.ErrNotSupported
	}
	p.options.Duration = time.Duration(p.seconds * float64(time.Second))
	if err := p.options.Validate(); err != nil {
		return errors.Join(errUsage, err)
	}
	e, err := p.env()
	if err != nil {
		return err
	}
	if !p.options.Quotable() {
		e.Log.Warn().Msg("fewer than 7 pairs or less than 2 s each: a trial, not a figure to quote")
	}
	host := run.ThisHost()
	result, err := s.Run(ctx, e)
	if err != nil {
		return err
	}
	report := run.NewReport(s.Name, p.options, host, result, time.Now())
	if p.results != "" {
		file, err := report.Save(p.results)
		if err != nil {
			return err
		}
		e.Log.Info().Str("file", file).Msg("saved")
	}
	if p.json {
		return report.WriteJSON(p.stdout)
	}
	return report.WriteTable(p.stdout)
}

func (p *program) env() (*run.Env, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("skybench: finding itself: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir() // no home, as in some containers
	}
	f, ok := p.stderr.(*os.File)
	log := zerolog.New(zerolog.ConsoleWriter{
		Out: p.stderr, TimeFormat: time.TimeOnly,
		NoColor: !ok || !isatty.IsTerminal(f.Fd()),
	}).With().Timestamp().Logger()
	return &run.Env{
		Options: p.options, Log: log, Self: self, Stderr: p.stderr,
		Cache: filepath.Join(cache, "skybench"),
	}, nil
}

func (p *program) list() error {
	all := scenario.All()
	if len(all) == 0 {
		return run.ErrNotSupported
	}
	if p.json {
		type entry struct {
			Name    string `json:"name"`
			Summary string `json:"summary"`
		}
		var entries []entry
		for _, s := range all {
			entries = append(entries, entry{s.Name, s.Summary})
		}
		return json.NewEncoder(p.stdout).Encode(entries)
	}
	tw := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, s := range all {
		fmt.Fprintf(tw, "%s\t%s\n", s.Name, s.Summary)
	}
	return tw.Flush()
}

// names are the scenarios' names, for completion and for errors.
func names() []string {
	var n []string
	for _, s := range scenario.All() {
		n = append(n, s.Name)
	}
	return n
}
