package scenario

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

const (
	failoverPort  = 80
	failoverLocal = "127.0.0.1:9080"
	failoverWarm  = 8 << 20 // bytes that have arrived before the kill
)

// Failover returns the benchmark of losing a hop: a stream through port forwarding over a
// route of two hops, whose middle is killed (SIGKILL) while another one could take its
// place. gap_s is how long nothing arrives, median over the rounds, and gap_max_s the
// longest. What arrives is compared with what was sent by SHA-256.
//
//	a ── b ── d
//	└─── c ───┘
func Failover() run.Scenario {
	return run.Scenario{
		Name:    "failover",
		Summary: "a stream whose middle hop is killed: how long it stands still",
		Run:     failoverRun,
	}
}

func failoverRun(ctx context.Context, e *run.Env) (_ run.Result, err error) {
	l, err := newLand(ctx, e)
	if err != nil {
		return run.Result{}, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	vs, err := l.visors(ctx, []string{"a", "b", "c", "d"}, func(_ string, c *config.Config) { c.Transport.Auto = false })
	if err != nil {
		return run.Result{}, err
	}
	f := failover{a: vs[0], middles: vs[1:3], d: vs[3], typ: e.Transport}
	if f.sink, err = f.d.Place.Open("127.0.0.1:0"); err != nil {
		return run.Result{}, err
	}
	defer f.sink.Close()
	if _, err := f.d.Ctl(ctx, "forward", "add", "--expose", f.sink.Addr().String(), "--port", fmt.Sprint(failoverPort), "--allow", f.a.PK.String()); err != nil {
		return run.Result{}, err
	}
	if _, err := f.a.Ctl(ctx, "forward", "add", "--reach", api.Peer(f.d.PK, failoverPort), "--local", failoverLocal, "--min-hops", "2"); err != nil {
		return run.Result{}, err
	}
	for _, m := range f.middles {
		if err := f.join(ctx, m); err != nil {
			return run.Result{}, err
		}
	}
	series, err := e.Rounds(ctx, run.Contestant{Name: "kill", Run: func(ctx context.Context) (run.Sample, error) { return f.round(ctx, e.Duration) }})
	if err != nil {
		return run.Result{}, err
	}
	return run.Result{Samples: series, Metrics: map[string]float64{
		"gap_s": series.Median("kill", "gap_s"), "gap_max_s": slices.Max(series.Values("kill", "gap_s")),
	}}, nil
}

// A failover is the network of the benchmark.
type failover struct {
	a, d    *cluster.Visor
	middles []*cluster.Visor
	typ     string
	sink    net.Listener
}

// join gives a middle its two transports.
func (f *failover) join(ctx context.Context, m *cluster.Visor) error {
	if err := online(ctx, m); err != nil {
		return err
	}
	return errors.Join(join(ctx, m, f.a, f.typ), join(ctx, m, f.d, f.typ))
}

// round sends a stream, kills the middle that carries it, looks on for a while, and starts
// that one again.
func (f *failover) round(ctx context.Context, length time.Duration) (run.Sample, error) {
	var stop atomic.Bool
	var in arrivals
	sctx, cut := context.WithTimeout(ctx, length+3*landTimeout)
	defer cut()
	sent := make(chan error, 1)
	go func() { sent <- f.send(sctx, &stop, &in) }()
	wait := func(n int64) error {
		ctx, cancel := context.WithTimeout(ctx, landTimeout)
		defer cancel()
		if err := poll(ctx, func() bool { return in.bytes.Load() >= n || len(sent) > 0 }); err != nil {
			return fmt.Errorf("failover: nothing more arrives: %w", err)
		}
		return nil
	}
	if err := wait(failoverWarm); err != nil {
		cut()
		return nil, errors.Join(err, <-sent)
	}
	victim, err := f.used(ctx)
	if err == nil {
		in.reset()
		err = victim.Kill()
	}
	if err == nil {
		err = wait(in.bytes.Load() + 1)
	}
	if err != nil {
		cut()
		return nil, errors.Join(err, <-sent)
	}
	select {
	case <-ctx.Done():
	case <-time.After(length): // for as long the stream must go on
	}
	stop.Store(true)
	if err := <-sent; err != nil {
		return nil, err
	}
	gap := in.longest()
	if err := victim.Restart(ctx); err != nil {
		return nil, err
	}
	return run.Sample{"gap_s": gap.Seconds()}, f.join(ctx, victim)
}

// used returns the middle that has forwarded most.
func (f *failover) used(ctx context.Context) (*cluster.Visor, error) {
	paths, err := f.a.Active(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(paths, func(p, q api.Path) int { return cmp.Compare(q.SentBytes, p.SentBytes) })
	for _, p := range paths {
		for _, m := range f.middles {
			if p.PK == f.d.PK && len(p.Hops) == 2 && p.Hops[0].To == m.PK {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("failover: no route over two hops among %+v", paths)
}

// arrivals notes when something arrives.
type arrivals struct {
	bytes atomic.Int64
	last  atomic.Int64 // Unix nanoseconds
	gap   atomic.Int64 // the longest since reset, nanoseconds
}

// Write implements io.Writer; one goroutine calls it.
func (a *arrivals) Write(b []byte) (int, error) {
	now := time.Now().UnixNano()
	if last := a.last.Swap(now); last != 0 {
		a.gap.Store(max(a.gap.Load(), now-last))
	}
	a.bytes.Add(int64(len(b)))
	return len(b), nil
}

func (a *arrivals) reset()                 { a.gap.Store(0) }
func (a *arrivals) longest() time.Duration { return time.Duration(a.gap.Load()) }

// send sends random bytes from a to d until stop is set, and compares what arrived. When
// ctx ends before, it cuts everything, the sink included.
func (f *failover) send(ctx context.Context, stop *atomic.Bool, in *arrivals) error {
	defer context.AfterFunc(ctx, func() { f.sink.Close() })()
	type end struct {
		sum []byte
		err error
	}
	got := make(chan end, 1)
	go func() {
		c, err := f.sink.Accept()
		if err != nil {
			got <- end{nil, err}
			return
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		h := sha256.New()
		_, err = io.Copy(io.MultiWriter(h, in), c)
		got <- end{h.Sum(nil), err}
	}()
	c, err := f.a.Place.Dial(failoverLocal)
	if err != nil {
		return errors.Join(err, f.sink.Close())
	}
	defer c.Close() // after all has arrived
	defer context.AfterFunc(ctx, func() { c.Close() })()
	random := rand.NewChaCha8([32]byte{})
	h := sha256.New()
	b := make([]byte, 64<<10)
	for !stop.Load() && err == nil {
		_, _ = random.Read(b) // never fails
		h.Write(b)
		_, err = c.Write(b)
	}
	if err == nil {
		err = c.(*net.TCPConn).CloseWrite()
	}
	if err != nil {
		return errors.Join(err, c.Close(), (<-got).err)
	}
	arrived := <-got
	if arrived.err == nil && !slices.Equal(arrived.sum, h.Sum(nil)) {
		arrived.err = errors.New("failover: what arrived is not what was sent")
	}
	return arrived.err
}
