// Package run is the harness that benchmark scenarios share: options, helper
// processes inside namespaces, interleaved rounds, host facts and reports.
//
// A scenario is a value, listed in package scenario. It measures its contestants
// in rounds, A B A B …, so that a machine that gets slower for a minute slows all
// of them, and reports ratios as the median over the rounds.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// ErrNotSupported says that this system has no Linux network namespaces.
var ErrNotSupported = errors.New("bench: needs Linux network namespaces")

// A Scenario is one benchmark that "skybench run" can run.
type Scenario struct {
	Name    string // as on the command line
	Summary string // one line for "skybench list"
	Run     func(context.Context, *Env) (Result, error)
}

// A Result is what a Scenario found.
type Result struct {
	// Metrics are the figures, the unit in the name unless it is a ratio:
	// "goodput_gbps", "tx_cpu_s_per_gb", "limit_ratio".
	Metrics map[string]float64
	// Samples is anything that encodes as JSON and shows where the metrics come
	// from, most often a Series.
	Samples any
}

// Options are the command line's, the same for all scenarios; each uses what it
// understands.
type Options struct {
	Hops      int           `json:"hops"`      // encrypted hops between the ends, ≥ 1
	Transport string        `json:"transport"` // "sudph" or "stcpr"
	Duration  time.Duration `json:"duration_ns"`
	Streams   int           `json:"streams"`            // parallel streams, ≥ 1
	Size      int           `json:"size"`               // bytes per message; 0: the scenario's choice
	Sessions  int           `json:"sessions,omitempty"` // idle sessions, entries; 0: the scenario's choice
	Visors    int           `json:"visors,omitempty"`   // simulated visors; 0: the scenario's choice
	Store     string        `json:"store,omitempty"`    // what a service keeps its entries in: "bolt" or "redis"
	Pairs     int           `json:"pairs"`              // rounds
	Verify    bool          `json:"verify"`             // compare every byte that arrives; costs CPU
	Profile   string        `json:"-"`                  // directory for CPU profiles; empty: none
}

// DefaultOptions returns 7 rounds of 2 s over one SUDPH hop: the least that gives
// a figure to quote.
func DefaultOptions() Options {
	return Options{Hops: 1, Transport: "sudph", Duration: 2 * time.Second, Streams: 1, Store: "bolt", Pairs: 7}
}

// Validate returns all that is wrong with o.
func (o Options) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("bench: "+format, args...))
		}
	}
	bad(o.Hops < 1 || o.Hops > 16, "hops: %d is not in 1..16", o.Hops)
	bad(o.Transport != "sudph" && o.Transport != "stcpr", "transport: %q is neither sudph nor stcpr", o.Transport)
	bad(o.Duration < 100*time.Millisecond, "seconds: %v is less than 0.1 s", o.Duration)
	bad(o.Streams < 1 || o.Streams > 10_000, "streams: %d is not in 1..10000", o.Streams)
	bad(o.Size < 0 || o.Size > 1<<30, "size: %d is not in 0..2^30", o.Size)
	bad(o.Sessions < 0 || o.Sessions > 50_000, "sessions: %d is not in 0..50000", o.Sessions)
	bad(o.Visors < 0 || o.Visors > 15_000, "visors: %d is not in 0..15000", o.Visors)
	bad(o.Store != "bolt" && o.Store != "redis", "store: %q is neither bolt nor redis", o.Store)
	bad(o.Pairs < 1, "pairs: %d is less than 1", o.Pairs)
	return errors.Join(errs...)
}

// Quotable reports whether the options are long enough for a figure that may be
// quoted: at least 7 rounds of at least 2 s.
func (o Options) Quotable() bool { return o.Pairs >= 7 && o.Duration >= 2*time.Second }

// An Env is what a scenario gets to work with. It may be used by many goroutines.
type Env struct {
	Options
	Log    zerolog.Logger // progress, for a human
	Self   string         // executable that has the roles, see Start
	Stderr io.Writer      // where helper processes write theirs
	Cache  string         // directory for things built once; made on use

	profiles atomic.Int64 // numbers the profile files
}

// profile returns a new file name for a CPU profile of the named process, or "".
func (e *Env) profile(name string) string {
	if e.Profile == "" {
		return ""
	}
	return filepath.Join(e.Profile, fmt.Sprintf("%s-%03d.pprof", name, e.profiles.Add(1)))
}
