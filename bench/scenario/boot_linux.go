package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// Boot returns the benchmark of a visor's start: into a network of three public visors and
// a service at a fourth one, with the configuration that "skyctl config gen" makes and one
// forward over three hops. Each round starts a new visor with a new key.
//
//   - first_transport_s: from the start of the process to the first transport that is up
//   - first_byte_3hop_s: from the same start to the first byte that comes back over three hops
//
// Both are medians over the rounds; those with _max are the longest.
//
//	new ── b ── c ── service
//	   └── c ── d ──┘
//	   └── d ── b
func Boot() run.Scenario {
	return run.Scenario{
		Name:    "boot",
		Summary: "a new visor: from its start to its first transport, to its first byte over 3 hops",
		Run:     bootRun,
	}
}

const bootLocal = "127.0.0.1:9080"

func bootRun(ctx context.Context, e *run.Env) (_ run.Result, err error) {
	l, err := newLand(ctx, e)
	if err != nil {
		return run.Result{}, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	vs, err := l.visors(ctx, []string{"b", "c", "d", "service"}, func(name string, c *config.Config) { c.Transport.Public = name != "service" })
	if err != nil {
		return run.Result{}, err
	}
	service := vs[3]
	echo, err := service.Place.Open("127.0.0.1:0")
	if err != nil {
		return run.Result{}, err
	}
	defer echo.Close()
	go bounce(echo)
	if _, err := service.Ctl(ctx, "forward", "add", "--expose", echo.Addr().String(), "--port", "80", "--public"); err != nil {
		return run.Result{}, err
	}
	if err := settled(ctx, vs); err != nil {
		return run.Result{}, err
	}
	round := 0
	series, err := e.Rounds(ctx, run.Contestant{Name: "boot", Run: func(ctx context.Context) (run.Sample, error) {
		round++
		return l.boot(ctx, fmt.Sprint("new", round), service)
	}})
	if err != nil {
		return run.Result{}, err
	}
	metrics := make(map[string]float64)
	for _, m := range []string{"first_transport_s", "first_byte_3hop_s"} {
		metrics[m] = series.Median("boot", m)
		metrics[m[:len(m)-1]+"max_s"] = slices.Max(series.Values("boot", m))
	}
	return run.Result{Metrics: metrics, Samples: series}, nil
}

// bounce sends back what comes.
func bounce(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // whoever dialled closes as he likes
		}()
	}
}

// settled returns when every visor has two registered transports of its own making or
// others'.
func settled(ctx context.Context, vs []*cluster.Visor) error {
	ctx, cancel := context.WithTimeout(ctx, 2*landTimeout)
	defer cancel()
	for _, v := range vs {
		if err := poll(ctx, func() bool {
			all, err := v.Transports(ctx)
			if err != nil {
				return false
			}
			n := 0
			for _, t := range all {
				if t.State == api.LinkUp && len(t.Registered) > 0 {
					n++
				}
			}
			return n >= 2
		}); err != nil {
			return fmt.Errorf("boot: visor %s has not made two transports by itself: %w\n%s", v.Place.Name, err, v.Log())
		}
	}
	return nil
}

// boot starts a visor at a new host, takes the times, and ends it.
func (l *land) boot(ctx context.Context, name string, service *cluster.Visor) (_ run.Sample, err error) {
	h, err := l.in.Host(name, topo.NoNAT, topo.Wire{})
	if err != nil {
		return nil, err
	}
	place := cluster.At(h, name)
	dir := filepath.Join(l.dir, name)
	v, err := cluster.Prepare(ctx, place, l.bin, dir, []string{l.services.URL}, func(c *config.Config) {
		c.Forwards = append(c.Forwards, api.ForwardSpec{
			Reach: api.Peer(service.PK, 80), Local: bootLocal, Route: &api.RoutePolicy{MinHops: 3},
		})
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Stop(), os.RemoveAll(dir)) }()
	begin := time.Now()
	var g errgroup.Group
	var transport, byteBack time.Duration
	ctx, cancel := context.WithTimeout(ctx, landTimeout)
	defer cancel()
	g.Go(func() error { return v.Restart(ctx) })
	g.Go(func() error {
		err := often(ctx, func() bool {
			all, err := v.Transports(ctx)
			return err == nil && slices.ContainsFunc(all, func(t api.Transport) bool { return t.State == api.LinkUp })
		})
		transport = time.Since(begin)
		return err
	})
	g.Go(func() error {
		err := often(ctx, func() bool { return answered(place) })
		byteBack = time.Since(begin)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("boot: %w\n%s", err, v.Log())
	}
	paths, err := v.Active(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(paths, func(p api.Path) bool { return p.PK == service.PK && len(p.Hops) >= 3 }) {
		return nil, fmt.Errorf("boot: the answer did not come over three hops: %+v", paths)
	}
	return run.Sample{"first_transport_s": transport.Seconds(), "first_byte_3hop_s": byteBack.Seconds()}, nil
}

// often asks every 5 ms until f says yes: that is how exact the times are.
func often(ctx context.Context, f func() bool) error {
	for !f() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// answered says whether a byte through the forward comes back.
func answered(at cluster.Place) bool {
	c, err := at.Dial(bootLocal)
	if err != nil {
		return false
	}
	defer c.Close()
	b := []byte{42}
	if err = c.SetDeadline(time.Now().Add(landTimeout)); err == nil {
		_, err = c.Write(b)
	}
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	return err == nil
}
