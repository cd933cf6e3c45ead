package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// setupBar is the number of hops whose figures have the plain names.
const setupBar = 3

// setupEvery is the rhythm of set-ups. A visor takes 64 routes of one source, and those
// that were given up count for up to two seconds more.
const setupEvery = 40 * time.Millisecond

// Setup returns the benchmark of setting routes up: five visors in a row, and a
// deployment. For Env.Duration and Pairs times over, the first asks every setupEvery for
// a route of so many hops and gives it up again: path search, setup node, rules at every
// hop, keys between the two ends. p50_ms and p99_ms are those of three hops, hops2_p50_ms
// and the like those of others. One hop is a neighbour with a link: what is measured is that nothing is set up.
//
//	a ── b ── c ── d ── e
func Setup() run.Scenario {
	return run.Scenario{
		Name:    "setup",
		Summary: "how long it takes to set up a route of 1 to 4 hops, all programs on this machine",
		Run:     setupRun,
	}
}

func setupRun(ctx context.Context, e *run.Env) (_ run.Result, err error) {
	l, err := newLand(ctx, e)
	if err != nil {
		return run.Result{}, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	vs, err := l.visors(ctx, []string{"a", "b", "c", "d", "e"}, func(_ string, c *config.Config) { c.Transport.Auto = false })
	if err != nil {
		return run.Result{}, err
	}
	for i := range vs[:len(vs)-1] {
		if err := join(ctx, vs[i], vs[i+1], e.Transport); err != nil {
			return run.Result{}, err
		}
	}
	a := vs[0]
	times := make([][]float64, len(vs)) // by hops, in ms
	var contestants []run.Contestant
	for hops := 1; hops < len(vs); hops++ {
		to := vs[hops].PK
		contestants = append(contestants, run.Contestant{Name: fmt.Sprint("hops", hops), Run: func(ctx context.Context) (run.Sample, error) {
			var window []float64
			beat := time.NewTicker(setupEvery)
			defer beat.Stop()
			for end := time.Now().Add(e.Duration); time.Now().Before(end); {
				begin := time.Now()
				paths, err := a.Connect(ctx, api.ConnectSpec{PK: to, Policy: api.RoutePolicy{MinHops: hops, MaxHops: hops}})
				took := time.Since(begin)
				if err != nil {
					return nil, err
				}
				if hops > 1 && (len(paths) == 0 || len(paths[0].Hops) != hops) {
					return nil, fmt.Errorf("setup: %d hops were asked for, and the paths are %+v", hops, paths)
				}
				window = append(window, float64(took.Nanoseconds())/1e6)
				if hops == 1 {
					continue
				}
				if err := a.Disconnect(ctx, to); err != nil {
					return nil, err
				}
				<-beat.C
			}
			times[hops] = append(times[hops], window...)
			at := percentiles(window, 50, 99)
			return run.Sample{"p50_ms": at[0], "p99_ms": at[1], "routes": float64(len(window))}, nil
		}})
	}
	series, err := e.Rounds(ctx, contestants...)
	if err != nil {
		return run.Result{}, err
	}
	metrics := make(map[string]float64)
	for hops := 1; hops < len(vs); hops++ {
		prefix := fmt.Sprintf("hops%d_", hops)
		if hops == setupBar {
			prefix = ""
		}
		at := percentiles(times[hops], 50, 99)
		metrics[prefix+"p50_ms"], metrics[prefix+"p99_ms"] = at[0], at[1]
		metrics[prefix+"routes"] = float64(len(times[hops]))
	}
	return run.Result{Metrics: metrics, Samples: series}, nil
}
