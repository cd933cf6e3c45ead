package scenario

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

const (
	churnTx = "relay-churn-tx"
	churnRx = "relay-churn-rx"
	// churnAtOnce is how many dial at the same time when Streams does not say.
	churnAtOnce = 16
)

// RelayChurn returns the benchmark of dialling through a relay, all three processes on
// one loopback. For Env.Duration one stream is dialled after the other: dial_p50_ms and
// dial_p99_ms are how long Dial takes, which returns when the far end has answered;
// then each carries a message there and back, outside of the time taken. For another
// Env.Duration many dial at once, and close at once: dials_per_s.
//
//	relay-churn-tx ── relay-hub ── relay-churn-rx
func RelayChurn() run.Scenario {
	return run.Scenario{
		Name:    "relay-churn",
		Summary: "dials through a dmsg relay on loopback: how long one takes, how many there are in a second",
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
			series, err := e.Rounds(ctx, run.Contestant{Name: hubRelay, Run: func(ctx context.Context) (run.Sample, error) {
				return churn(ctx, e, ns)
			}})
			if err != nil {
				return run.Result{}, err
			}
			metrics := make(map[string]float64)
			for _, m := range []string{"dial_p50_ms", "dial_p90_ms", "dial_p99_ms", "dials_per_s", "relay_cpu_ms_per_dial"} {
				metrics[m] = series.Median(hubRelay, m)
			}
			return run.Result{Metrics: metrics, Samples: series}, nil
		},
	}
}

// churnTotals is what the dialling end saw.
type churnTotals struct {
	Dials   int       // one after the other
	Times   []float64 // of p50, p90 and p99, in ms
	AtOnce  int       // dials of those that dialled at the same time
	Seconds float64   // these took
}

// churnSeen is how many streams the other end accepted.
type churnSeen struct{ Accepted int64 }

// churn starts the three processes, has one dial, and stops them.
func churn(ctx context.Context, e *run.Env, ns *topo.Namespace) (run.Sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hub, rx, end, err := churnStart(ctx, e, ns)
	if err != nil {
		return nil, err
	}
	var t churnTotals
	var used hubTotals
	var seen churnSeen
	tx, err := e.Start(ctx, ns, churnTx, end)
	if err == nil {
		err = tx.Result(&t)
	}
	if err = errors.Join(err, hub.Stop(&used), rx.Stop(&seen)); err != nil {
		return nil, err
	}
	if all := t.Dials + t.AtOnce; seen.Accepted != int64(all) {
		return nil, fmt.Errorf("relay-churn: %d streams were dialled and %d accepted", all, seen.Accepted)
	}
	return run.Sample{
		"dial_p50_ms": t.Times[0], "dial_p90_ms": t.Times[1], "dial_p99_ms": t.Times[2],
		"dials_per_s":           float64(t.AtOnce) / t.Seconds,
		"relay_cpu_ms_per_dial": 1e3 * used.CPUSeconds / float64(t.Dials+t.AtOnce),
	}, nil
}

// churnStart starts the relay and the accepting end, and returns how the dialling one
// is to be started.
func churnStart(ctx context.Context, e *run.Env, ns *topo.Namespace) (hub, rx *run.Process, tx relayEnd, err error) {
	pk, sk := keyPairs(3)
	if hub, err = e.Start(ctx, ns, relayHub, hubConfig{Mode: hubRelay, Secret: sk[0], Listen: fmt.Sprintf(":%d", relayHubPort)}); err != nil {
		return nil, nil, tx, err
	}
	streams := churnAtOnce
	if e.Streams > 1 {
		streams = e.Streams
	}
	tx = relayEnd{
		Secret: sk[1], Hub: pk[0], HubAddr: fmt.Sprintf("127.0.0.1:%d", relayHubPort), Peer: pk[2],
		Seconds: e.Duration.Seconds(), Streams: streams,
	}
	other := tx
	other.Secret = sk[2]
	rx, err = e.Start(ctx, ns, churnRx, other)
	return hub, rx, tx, err
}

// churnDial dials, first one by one and then cfg.Streams at a time.
func churnDial(ctx context.Context, cfg relayEnd, ready func()) (t churnTotals, err error) {
	c, err := cfg.client(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	to := proto.Addr{PK: cfg.Peer, Port: relayPort}
	ready()

	length := time.Duration(cfg.Seconds * float64(time.Second))
	var times []float64
	for end := time.Now().Add(length); time.Now().Before(end); {
		begin := time.Now()
		s, err := c.Dial(ctx, to)
		if err != nil {
			return t, err
		}
		times = append(times, float64(time.Since(begin).Nanoseconds())/1e6)
		if err := errors.Join(churnEcho(s, uint64(len(times))), s.Close()); err != nil {
			return t, err
		}
	}
	t.Dials, t.Times = len(times), percentiles(times, 50, 90, 99)

	var n atomic.Int64
	begin := time.Now()
	end := begin.Add(length)
	g, gctx := errgroup.WithContext(ctx)
	for range cfg.Streams {
		g.Go(func() error {
			for time.Now().Before(end) {
				s, err := c.Dial(gctx, to)
				if err != nil {
					return err
				}
				n.Add(1)
				if err := s.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	t.AtOnce, t.Seconds = int(n.Load()), time.Since(begin).Seconds()
	return t, err
}

// churnEcho sends a number and wants it back.
func churnEcho(c net.Conn, n uint64) error {
	msg := binary.BigEndian.AppendUint64(nil, n)
	if _, err := c.Write(msg); err != nil {
		return err
	}
	back := make([]byte, len(msg))
	if _, err := io.ReadFull(c, back); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(back); got != n {
		return fmt.Errorf("relay-churn: sent %d, got %d back", n, got)
	}
	return nil
}

// churnAccept sends back what comes on each stream, until its end.
func churnAccept(ctx context.Context, cfg relayEnd, ready func()) (t churnSeen, err error) {
	l, done, err := cfg.listen(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, done()) }()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready()
	for {
		c, err := l.Accept()
		if err != nil {
			return t, nil // closed
		}
		t.Accepted++
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // the dialler closes as it likes
		}()
	}
}

// percentiles returns the values below which that share of v lies. v is sorted, and
// must not be empty.
func percentiles(v []float64, percent ...int) []float64 {
	slices.Sort(v)
	out := make([]float64, len(percent))
	for i, p := range percent {
		out[i] = v[len(v)*p/100]
	}
	return out
}
