package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

const (
	streamTx  = "stream-tx"
	streamMid = "stream-mid"
	streamRx  = "stream-rx"
	// streamPort is the port of the far visor's key.
	streamPort = 80
)

// Stream returns the benchmark of streams by public key, from the memory of one
// process to that of another, over Hops links: bytes that the far application has
// read, beside the yardstick over the first wire. With Size it is a ping-pong of
// messages of that many bytes over one stream.
//
//	a ── veth ── b … ── veth ── z
//	stream-tx    stream-mid     stream-rx
func Stream() run.Scenario {
	return run.Scenario{
		Name:    "stream",
		Summary: "streams from memory to memory over 1 or more hops; with --size N a ping-pong",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.Chain(e.Log, e.Hops+1)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			if e.Size > 0 {
				return pingPong(ctx, e, net)
			}
			series, err := e.Rounds(ctx, limitContestant(e, net.Links[0]), streamContestant(e, net))
			if err != nil {
				return run.Result{}, err
			}
			goodput := series.Values("stream", "received_gbps")
			metrics := map[string]float64{
				"goodput_gbps":     run.Median(goodput),
				"goodput_gbps_min": slices.Min(goodput),
				"goodput_gbps_max": slices.Max(goodput),
				"limit_ratio":      series.Ratio("stream", "limit", "received_gbps"),
				"limit_gbps":       series.Median("limit", "received_gbps"),
				"tx_cpu_s_per_gb":  series.Median("stream", "tx_cpu_s_per_gb"),
				"rx_cpu_s_per_gb":  series.Median("stream", "rx_cpu_s_per_gb"),
			}
			if e.Hops > 1 {
				metrics["transit_cpu_s_per_gb"] = series.Median("stream", "transit_cpu_s_per_gb")
			}
			return run.Result{Metrics: metrics, Samples: series}, nil
		},
	}
}

func pingPong(ctx context.Context, e *run.Env, net *topo.Net) (run.Result, error) {
	series, err := e.Rounds(ctx, streamContestant(e, net))
	if err != nil {
		return run.Result{}, err
	}
	metrics := make(map[string]float64)
	for _, m := range []string{"rtt_p50_us", "rtt_p90_us", "rtt_p99_us", "round_trips_per_s"} {
		metrics[m] = series.Median("stream", m)
	}
	return run.Result{Metrics: metrics, Samples: series}, nil
}

// streamContestant starts all visors, runs one transfer or ping-pong and stops them.
func streamContestant(e *run.Env, net *topo.Net) run.Contestant {
	return run.Contestant{Name: "stream", Run: func(ctx context.Context) (run.Sample, error) {
		cfgs, keys := chainOf(net.Links, e.Transport)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var tx, rx streamTotals
		var transit float64
		// The last first: each dials the next.
		far, err := e.Start(ctx, net.NS[len(cfgs)-1], streamRx, streamConfig{
			nodeConfig: cfgs[len(cfgs)-1], Size: e.Size, Verify: e.Verify,
		})
		if err != nil {
			return nil, err
		}
		var mids []*run.Process
		for i := len(cfgs) - 2; i > 0 && err == nil; i-- {
			var p *run.Process
			if p, err = e.Start(ctx, net.NS[i], streamMid, cfgs[i]); err == nil {
				mids = append(mids, p)
			}
		}
		if err == nil {
			var near *run.Process
			near, err = e.Start(ctx, net.NS[0], streamTx, streamConfig{
				nodeConfig: cfgs[0], Peer: keys[len(keys)-1], Size: e.Size, Verify: e.Verify,
				Seconds: e.Duration.Seconds(), Streams: e.Streams,
			})
			if err == nil {
				err = near.Result(&tx)
			}
		}
		for _, p := range mids {
			var cpu float64
			err = errors.Join(err, p.Stop(&cpu))
			transit += cpu
		}
		if err = errors.Join(err, far.Stop(&rx)); err != nil {
			return nil, err
		}
		if rx.Bytes != tx.Bytes || rx.Bytes == 0 {
			return nil, fmt.Errorf("stream: %d bytes were written and %d read", tx.Bytes, rx.Bytes)
		}
		if e.Size > 0 {
			return pingPongSample(tx), nil
		}
		const giga = 1e9
		gb := float64(rx.Bytes) / giga
		s := run.Sample{
			"received_gbps":   8 * gb / rx.Seconds,
			"tx_cpu_s_per_gb": tx.CPUSeconds / gb,
			"rx_cpu_s_per_gb": rx.CPUSeconds / gb,
		}
		if len(mids) > 0 {
			s["transit_cpu_s_per_gb"] = transit / float64(len(mids)) / gb
		}
		return s, nil
	}}
}

// pingPongSample sorts t's round trips.
func pingPongSample(t streamTotals) run.Sample {
	at := percentiles(t.RTTs, 50, 90, 99)
	return run.Sample{
		"rtt_p50_us": at[0], "rtt_p90_us": at[1], "rtt_p99_us": at[2],
		"round_trips_per_s": float64(len(t.RTTs)) / t.Seconds,
	}
}
