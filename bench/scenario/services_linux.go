package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/deployment"
)

const (
	servicesLoad = "services-load"
	// servicesVisors is how many visors there are when Visors does not say, and
	// servicesDegree how many transports for each.
	servicesVisors = 1000
	servicesDegree = 5
)

// Services returns the benchmark of a whole deployment: one "skysvc all --no-limits"
// at one host of an Internet, and at another a process that is Visors visors, each with
// its own key, a dmsg session, a connection for HTTP, and five transports to random others
// (so that it is an edge of ten). What they do, and how often, is what a visor does; see
// simVisor. When all are registered, Pairs windows of Env.Duration are looked at:
//
//   - cores: processor time of the deployment's process by time, median of the windows
//   - rss_mb: its resident memory at the end
//   - route_finder_p50_ms, route_finder_p99_ms: a question to the route finder and its
//     answer, as the visor that asked sees it, over all windows
//   - route_finder_per_s, requests_per_s: such questions, and requests of all kinds,
//     that were made; unanswered: questions to which 503 was all the answer
//   - writes_mb_per_s: what the deployment writes to the disk
//   - retries: of other calls that met 503
//   - boot_s: how long all took to register, one machine being all of them
//
// More than 8,000 visors need more files than many systems give to a process: "ulimit -n
// 100000" before.
func Services() run.Scenario {
	return run.Scenario{
		Name:    "services",
		Summary: "what one skysvc all takes for --visors visors with five transports each",
		Run:     servicesRun,
	}
}

// servicesConfig goes to the process that is all visors.
type servicesConfig struct {
	Conf    deployment.Conf
	PID     int // of the deployment
	Visors  int
	Windows int
	Seconds float64 // of a window
}

// servicesTotals is what it found.
type servicesTotals struct {
	BootSeconds float64
	Windows     []servicesWindow
	P50, P99    float64 // of questions to the route finder, ms
	Asked       int     // these were
	Unanswered  int     // of these
	Retries     int     // of other calls
}

// A servicesWindow is one look at the deployment.
type servicesWindow struct {
	Cores    float64
	Requests int // of the visors, over HTTP
	Asked    int // of these to the route finder
	Resident int64
	Written  int64 // bytes, to the disk
}

func servicesRun(ctx context.Context, e *run.Env) (_ run.Result, err error) {
	in, stop, err := newInternet(e.Log)
	if err != nil {
		return run.Result{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	d, end, err := deploy(ctx, e, in, "--no-limits")
	if err != nil {
		return run.Result{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	visors, err := in.Host("visors", topo.NoNAT, topo.Wire{})
	if err != nil {
		return run.Result{}, err
	}
	cfg := servicesConfig{Conf: d.Conf, PID: d.PID(), Visors: servicesVisors, Windows: e.Pairs, Seconds: e.Duration.Seconds()}
	if e.Visors > 0 {
		cfg.Visors = e.Visors
	}
	p, err := e.Start(ctx, visors.Namespace, servicesLoad, cfg)
	if err != nil {
		return run.Result{}, err
	}
	var t servicesTotals
	if err := p.Result(&t); err != nil {
		return run.Result{}, err
	}
	const mega = 1e6
	var cores, requests, asked, written []float64
	for _, w := range t.Windows {
		cores = append(cores, w.Cores)
		requests = append(requests, float64(w.Requests)/cfg.Seconds)
		asked = append(asked, float64(w.Asked)/cfg.Seconds)
		written = append(written, float64(w.Written)/cfg.Seconds/mega)
	}
	return run.Result{Samples: t, Metrics: map[string]float64{
		"visors": float64(cfg.Visors), "transports": float64(cfg.Visors * servicesDegree),
		"cores": run.Median(cores), "requests_per_s": run.Median(requests), "route_finder_per_s": run.Median(asked),
		"unanswered": float64(t.Unanswered), "retries": float64(t.Retries), "writes_mb_per_s": run.Median(written),
		"rss_mb":              float64(t.Windows[len(t.Windows)-1].Resident) / mega,
		"route_finder_p50_ms": t.P50, "route_finder_p99_ms": t.P99,
		"boot_s": t.BootSeconds,
	}}, nil
}

// newInternet makes an Internet, and returns what removes it.
func newInternet(log zerolog.Logger) (*topo.Internet, func() error, error) {
	n, err := topo.New(log)
	if err != nil {
		return nil, nil, err
	}
	in, err := n.Internet(false)
	if err != nil {
		return nil, nil, errors.Join(err, n.Close())
	}
	return in, n.Close, nil
}

// deploy runs the skysvc that stands beside this program at a host of its own, and
// returns it and what ends it and removes its files.
func deploy(ctx context.Context, e *run.Env, in *topo.Internet, flags ...string) (*cluster.Deployment, func() error, error) {
	bin, err := programs(e, "skysvc")
	if err != nil {
		return nil, nil, err
	}
	host, err := in.Host("services", topo.NoNAT, topo.Wire{})
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "skybench-services-")
	if err != nil {
		return nil, nil, fmt.Errorf("bench: %w", err)
	}
	d, err := cluster.Deploy(ctx, cluster.At(host, "services"), bin, dir, flags...)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return d, func() error { return errors.Join(d.Stop(), os.RemoveAll(dir)) }, nil
}

// programs returns the folder of this program, where those of that names stand too.
func programs(e *run.Env, names ...string) (string, error) {
	bin := filepath.Dir(e.Self)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("bench: %s must stand beside skybench, \"make build\" puts it there: %w", name, err)
		}
	}
	return bin, nil
}
