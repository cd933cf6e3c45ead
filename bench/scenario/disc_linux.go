package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

const (
	discHub  = "disc-hub"
	discLoad = "disc-load"
	discPort = 9090

	// discEntries is how many clients are listed when Sessions does not say,
	// discConns how many connections ask when Streams does not say.
	discEntries = 10_000
	discConns   = 64

	redisPort    = 6379
	redisTimeout = 10 * time.Second
)

// Disc returns the benchmark of the discovery: skysvc dmsgdisc without rate limits,
// and a process that asks it over HTTP, on the same processors and one loopback. It
// publishes Sessions entries, looks random ones up for Env.Duration, and publishes
// anew for as long, each time over Streams connections that stay open and of which
// each waits for its answer. Every answer is compared with what was published.
// Signatures are made beforehand. The store is a bbolt file in the temporary directory
// or, with Store "redis", a redis-server on the same loopback that syncs each write.
//
//	disc-load ── disc-hub ── bbolt file or redis-server
func Disc() run.Scenario {
	return run.Scenario{
		Name:    "disc",
		Summary: "look-ups and updates at a dmsg discovery; --store redis for one that keeps them in Redis",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			wires, err := topo.New(e.Log)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, wires.Close()) }()
			ns, err := wires.Namespace("a")
			if err != nil {
				return run.Result{}, err
			}
			series, err := e.Rounds(ctx, run.Contestant{Name: e.Store, Run: func(ctx context.Context) (run.Sample, error) {
				return discRound(ctx, e, ns)
			}})
			if err != nil {
				return run.Result{}, err
			}
			metrics := make(map[string]float64)
			for _, m := range []string{
				"lookups_per_s", "p50_ms", "p99_ms", "cpu_us_per_lookup",
				"updates_per_s", "update_p50_ms", "update_p99_ms", "cpu_us_per_update", "entries",
			} {
				metrics[m] = series.Median(e.Store, m)
			}
			return run.Result{Metrics: metrics, Samples: series}, nil
		},
	}
}

// discRound starts store, service and load, and stops them.
func discRound(ctx context.Context, e *run.Env, ns *topo.Namespace) (_ run.Sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "skybench-disc-")
	if err != nil {
		return nil, fmt.Errorf("disc: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store := "bolt://" + filepath.Join(dir, "disc.db")
	if e.Store == "redis" {
		stop, err := startRedis(ctx, ns, dir)
		if err != nil {
			return nil, err
		}
		defer stop()
		store = fmt.Sprintf("redis://127.0.0.1:%d", redisPort)
	}
	hub, err := e.Start(ctx, ns, discHub, discConfig{Store: store})
	if err != nil {
		return nil, err
	}
	cfg := discLoadConfig{PID: hub.PID(), Entries: discEntries, Conns: discConns, Seconds: e.Duration.Seconds()}
	if e.Sessions > 0 {
		cfg.Entries = e.Sessions
	}
	if e.Streams > 1 {
		cfg.Conns = e.Streams
	}
	cfg.Conns = min(cfg.Conns, cfg.Entries)
	var t discTotals
	load, err := e.Start(ctx, ns, discLoad, cfg)
	if err == nil {
		err = load.Result(&t)
	}
	if err = errors.Join(err, hub.Stop(&struct{}{})); err != nil {
		return nil, err
	}
	return run.Sample{
		"lookups_per_s": t.Lookups.rate(), "p50_ms": t.Lookups.P50, "p99_ms": t.Lookups.P99, "cpu_us_per_lookup": t.Lookups.cpu(),
		"updates_per_s": t.Updates.rate(), "update_p50_ms": t.Updates.P50, "update_p99_ms": t.Updates.P99, "cpu_us_per_update": t.Updates.cpu(),
		"entries": float64(cfg.Entries),
	}, nil
}

// startRedis runs a redis-server in ns that keeps what it has acknowledged, as the
// store wants it, and returns when it answers.
func startRedis(ctx context.Context, ns *topo.Namespace, dir string) (stop func(), err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("disc: no redis-server on this machine, install the Debian package redis-server: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := ns.Command(ctx, path, "--port", fmt.Sprint(redisPort), "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning", "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("disc: redis-server: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is ended by us, or missed at once
	}()
	stop = func() {
		cancel()
		<-ended
	}
	for end := time.Now().Add(redisTimeout); ; {
		err := ns.Do(func() error {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", redisPort))
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err == nil {
			return stop, nil
		}
		select {
		case <-ended:
			return nil, errors.New("disc: redis-server ended at once")
		case <-time.After(20 * time.Millisecond): // polled: it does not tell
		}
		if time.Now().After(end) {
			stop()
			return nil, fmt.Errorf("disc: redis-server does not answer: %w", err)
		}
	}
}
