package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

// The wire of the long fat scenario.
const (
	longfatDelay = 250 * time.Millisecond // one way
	longfatRate  = 200e6                  // bit/s of IP packets
	longfatLoss  = 0.01                   // of the packets, each way, in the second part

	// longfatClean and longfatLossy are how many times Env.Duration the parts take,
	// longfatRamp how much of the first is left to growing: 60 round trips at 2 s.
	// Doubling from 10 packets to the 12.5 MB that fill the wire takes 10; CUBIC that
	// leaves slow start half-way, as HyStart may, needs 44 more for the other half
	// (0.4·t³ packets, RFC 9438 section 4.2).
	longfatClean = 30
	longfatRamp  = 15
	longfatLossy = 40
	// longfatStreams run at the same time in the second part, of either kind. One
	// stream alone is at the mercy of when it loses its first packet; together they
	// use a few percent of the wire, so none feels another.
	longfatStreams = 8
)

// LongFat returns the benchmark of a long fat path: 500 ms of round trip at 200
// Mbit/s, one hop. rate_ratio is what one stream brings after the ramp by the rate of
// the wire, which counts all headers; whole_ratio is that from the first byte on.
// cubic_ratio is what streams bring when 1 % of the packets are lost, by what as many
// TCP streams of the kernel (CUBIC, large buffers) bring at the same time on the same
// wire. It runs once, whatever Pairs says.
//
//	a ══ 200 Mbit/s, 250 ms ══ b      c ══ the same, 1 % loss each way ══ d
//	stream-tx          stream-rx      stream-tx, kernel      stream-rx, kernel
func LongFat() run.Scenario {
	return run.Scenario{
		Name:    "longfat",
		Summary: "one stream at 500 ms and 200 Mbit/s; with 1 % loss beside the kernel's CUBIC (one run of 2.5 minutes)",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.New(e.Log)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			clean, err := longfatWire(net, "a", "b", 0)
			if err != nil {
				return run.Result{}, err
			}
			lossy, err := longfatWire(net, "c", "d", longfatLoss)
			if err != nil {
				return run.Result{}, err
			}

			e.Log.Info().Dur("length", longfatClean*e.Duration).Msg("one stream, no loss")
			alone, err := longfatTransfer(ctx, e, clean, longfatClean*e.Duration, 1)
			if err != nil {
				return run.Result{}, err
			}
			dropped, err := clean.A.Dropped()
			if err != nil {
				return run.Result{}, err
			}
			e.Log.Info().Uint64("device_drops", dropped).Dur("length", longfatLossy*e.Duration).Msg("streams of ours and of the kernel, with loss")
			var ours, kernel streamTotals
			g, gctx := errgroup.WithContext(ctx)
			g.Go(func() (err error) {
				ours, err = longfatTransfer(gctx, e, lossy, longfatLossy*e.Duration, longfatStreams)
				return err
			})
			g.Go(func() (err error) {
				kernel, err = kernelTransfer(gctx, lossy, longfatLossy*e.Duration, longfatStreams)
				return err
			})
			if err := g.Wait(); err != nil {
				return run.Result{}, err
			}
			result := longfatResult(e, alone, ours, kernel)
			result.Metrics["device_drops"] = float64(dropped) // packets that never saw the wire: the machine was too busy
			return result, nil
		},
	}
}

func longfatResult(e *run.Env, alone, ours, kernel streamTotals) run.Result {
	after := alone.rate(longfatRamp*e.Duration, longfatClean*e.Duration)
	whole := alone.rate(0, longfatClean*e.Duration)
	lossy := ours.rate(0, longfatLossy*e.Duration)
	cubic := kernel.rate(0, longfatLossy*e.Duration)
	return run.Result{
		Metrics: map[string]float64{
			"rate_ratio":           after / longfatRate,
			"whole_ratio":          whole / longfatRate,
			"goodput_mbps":         after / 1e6,
			"cubic_ratio":          lossy / cubic,
			"lossy_stream_mbps":    lossy / 1e6 / longfatStreams,
			"kernel_cubic_mbps":    cubic / 1e6 / longfatStreams,
			"shaped_mbps":          longfatRate / 1e6,
			"round_trip_ms":        float64(2 * longfatDelay.Milliseconds()),
			"loss":                 longfatLoss,
			"lossy_streams":        longfatStreams,
			"ramp_s":               (longfatRamp * e.Duration).Seconds(),
			"clean_length_s":       (longfatClean * e.Duration).Seconds(),
			"lossy_length_s":       (longfatLossy * e.Duration).Seconds(),
			"clean_cpu_s_per_gb":   alone.CPUSeconds / (float64(alone.Bytes) / 1e9),
			"clean_received_bytes": float64(alone.Bytes),
		},
		Samples: map[string][]streamPoint{"clean": alone.Points, "lossy": ours.Points, "kernel": kernel.Points},
	}
}

// longfatWire joins two new namespaces.
func longfatWire(net *topo.Net, a, b string, loss float64) (*topo.Link, error) {
	na, err := net.Namespace(a)
	if err != nil {
		return nil, err
	}
	nb, err := net.Namespace(b)
	if err != nil {
		return nil, err
	}
	l, err := net.JoinDelayed(na, nb, topo.Wire{Delay: longfatDelay, Rate: longfatRate})
	if err != nil || loss == 0 {
		return l, err
	}
	return l, errors.Join(l.A.Drop(loss), l.B.Drop(loss))
}

// longfatTransfer sends over streams through two visors at the ends of l for d, then
// cuts them off.
func longfatTransfer(ctx context.Context, e *run.Env, l *topo.Link, d time.Duration, streams int) (rx streamTotals, err error) {
	cfgs, keys := chainOf([]*topo.Link{l}, e.Transport)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	far, err := e.Start(ctx, l.B.NS, streamRx, streamConfig{nodeConfig: cfgs[1], Cut: true, Verify: e.Verify})
	if err != nil {
		return rx, err
	}
	var tx streamTotals
	near, err := e.Start(ctx, l.A.NS, streamTx, streamConfig{
		nodeConfig: cfgs[0], Peer: keys[1], Cut: true, Seconds: (d + 2*longfatDelay).Seconds(), Streams: streams,
	})
	if err == nil {
		err = near.Result(&tx)
	}
	if err = errors.Join(err, far.Stop(&rx)); err != nil {
		return rx, err
	}
	if rx.Bytes == 0 || rx.Bytes > tx.Bytes {
		return rx, fmt.Errorf("longfat: %d bytes were written and %d read", tx.Bytes, rx.Bytes)
	}
	return rx, nil
}
