package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// The two paths of the mux scenario.
const (
	muxRate  = 200e6                 // bit/s of each
	muxQueue = 50 * time.Millisecond // that may wait for the rate
	muxDelay = 10 * time.Millisecond // one way, of the second path

	// muxLength is how many times Env.Duration a transfer takes, muxRamp how much of that
	// is left to growing.
	muxLength  = 4
	muxRamp    = 1
	muxStreams = 8
)

// Mux returns the benchmark of one session over two disjoint paths of two hops, each
// limited to 200 Mbit/s, 20 ms apart in round-trip time. sum_ratio is what eight streams
// bring over both by the sum of what eight bring over each path alone in the same round,
// single_stream_ratio what one stream brings by that sum, better_path_ratio by the better
// of the two paths.
//
//	stream-tx    stream-mid           stream-rx
//	a ══ 200 Mbit/s ══ b ═════════════ z
//	a ══ 200 Mbit/s ══ c ══ 10 ms ════ z
func Mux() run.Scenario {
	return run.Scenario{
		Name:    "mux",
		Summary: "one session over two disjoint paths of 200 Mbit/s, 20 ms apart: eight streams and one, by each path alone",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, paths, err := muxNet(e)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			series, err := e.Rounds(ctx,
				muxContestant(e, "near", paths[:1], muxStreams),
				muxContestant(e, "far", paths[1:], muxStreams),
				muxContestant(e, "mux", paths, muxStreams),
				muxContestant(e, "single", paths, 1),
			)
			if err != nil {
				return run.Result{}, err
			}
			return muxResult(series), nil
		},
	}
}

func muxResult(series run.Series) run.Result {
	var sum, single, better []float64
	near, far := series.Values("near", "mbps"), series.Values("far", "mbps")
	many, one := series.Values("mux", "mbps"), series.Values("single", "mbps")
	for i := range near {
		both := near[i] + far[i]
		sum = append(sum, many[i]/both)
		single = append(single, one[i]/both)
		better = append(better, min(many[i], one[i])/max(near[i], far[i]))
	}
	return run.Result{
		Metrics: map[string]float64{
			"sum_ratio":           run.Median(sum),
			"single_stream_ratio": run.Median(single),
			"better_path_ratio":   run.Median(better),
			"near_mbps":           run.Median(near),
			"far_mbps":            run.Median(far),
			"mux_mbps":            run.Median(many),
			"single_mbps":         run.Median(one),
			"mux_cpu_s_per_gb":    series.Median("mux", "cpu_s_per_gb"),
			"near_cpu_s_per_gb":   series.Median("near", "cpu_s_per_gb"),
		},
		Samples: series,
	}
}

// A muxPath is two wires in a row, from a over a middle visor to z.
type muxPath struct{ first, second *topo.Link }

func muxNet(e *run.Env) (_ *topo.Net, paths []muxPath, err error) {
	net, err := topo.New(e.Log)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, net.Close())
		}
	}()
	ns := make(map[string]*topo.Namespace)
	for _, name := range []string{"a", "b", "c", "z"} {
		if ns[name], err = net.Namespace(name); err != nil {
			return nil, nil, err
		}
	}
	for _, mid := range []string{"b", "c"} {
		var p muxPath
		if p.first, err = net.Join(ns["a"], ns[mid]); err != nil {
			return nil, nil, err
		}
		if mid == "b" {
			p.second, err = net.Join(ns[mid], ns["z"])
		} else {
			p.second, err = net.JoinDelayed(ns[mid], ns["z"], topo.Wire{Delay: muxDelay})
		}
		if err != nil {
			return nil, nil, err
		}
		if err = errors.Join(p.first.A.Rate(muxRate, muxQueue), p.first.B.Rate(muxRate, muxQueue)); err != nil {
			return nil, nil, err
		}
		paths = append(paths, p)
	}
	return net, paths, nil
}

// muxContestant runs one transfer over the given paths.
func muxContestant(e *run.Env, name string, paths []muxPath, streams int) run.Contestant {
	return run.Contestant{Name: name, Run: func(ctx context.Context) (run.Sample, error) {
		near, mids, far := muxConfigs(paths, e.Transport)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		rx, err := e.Start(ctx, paths[0].second.B.NS, streamRx, streamConfig{nodeConfig: far, Cut: true, Verify: e.Verify})
		if err != nil {
			return nil, err
		}
		var running []*run.Process
		for i, cfg := range mids {
			p, err := e.Start(ctx, paths[i].first.B.NS, streamMid, cfg)
			if err != nil {
				return nil, err
			}
			running = append(running, p)
		}
		var got, sent streamTotals
		peer, err := far.Secret.PubKey()
		if err != nil {
			return nil, err
		}
		tx, err := e.Start(ctx, paths[0].first.A.NS, streamTx, streamConfig{
			nodeConfig: near, Peer: peer, Cut: true,
			Seconds: (muxLength*e.Duration + time.Second).Seconds(), Streams: streams,
		})
		if err == nil {
			err = tx.Result(&sent)
		}
		for _, p := range running {
			var cpu float64
			err = errors.Join(err, p.Stop(&cpu))
		}
		if err = errors.Join(err, rx.Stop(&got)); err != nil {
			return nil, err
		}
		if got.Bytes == 0 || got.Bytes > sent.Bytes {
			return nil, fmt.Errorf("mux: %d bytes were written and %d read", sent.Bytes, got.Bytes)
		}
		rate := got.rate(muxRamp*e.Duration, muxLength*e.Duration)
		return run.Sample{
			"mbps":         rate / 1e6,
			"ramp_mbps":    got.rate(0, muxRamp*e.Duration) / 1e6,
			"cpu_s_per_gb": (got.CPUSeconds + sent.CPUSeconds) / (float64(got.Bytes) / 1e9),
		}, nil
	}}
}

// muxConfigs returns the visors of a session over the paths: its ends and the middle of
// each path. The nearer one dials the next.
func muxConfigs(paths []muxPath, transport string) (near nodeConfig, mids []nodeConfig, far nodeConfig) {
	keys, secrets := keyPairs(2 + len(paths))
	a, z := keys[0], keys[1]
	listen := netip.AddrPortFrom(netip.IPv4Unspecified(), linkPort).String()
	near = nodeConfig{Secret: secrets[0], Listen: listen, Mux: true}
	far = nodeConfig{Secret: secrets[1], Listen: listen, Mux: true}
	link := func(to cipher.PubKey, at *topo.End) api.LinkSpec {
		return api.LinkSpec{PK: to, Type: transport, Addr: netip.AddrPortFrom(at.IPv4.Addr(), linkPort).String()}
	}
	for i, p := range paths {
		m := keys[2+i]
		forth, back := chainForth+uint32(10*i), chainBack+uint32(10*i) // an end has one rule for each path
		at := func(k cipher.PubKey, label uint32) api.Hop { return api.Hop{Link: k, Label: label} }
		near.Links = append(near.Links, link(m, p.first.B))
		near.Rules = append(near.Rules, api.Rule{In: at(m, back), Out: at(m, forth), Peer: &z})
		far.Rules = append(far.Rules, api.Rule{In: at(m, forth), Out: at(m, back), Peer: &a})
		mids = append(mids, nodeConfig{
			Secret: secrets[2+i], Listen: listen,
			Links: []api.LinkSpec{link(z, p.second.B)},
			Rules: []api.Rule{
				{In: at(a, forth), Out: at(z, forth)},
				{In: at(z, back), Out: at(a, back)},
			},
		})
	}
	return near, mids, far
}
