package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

const (
	relayHub = "relay-hub"
	relayTx  = "relay-tx"
	relayRx  = "relay-rx"

	relayHubPort    = 8081
	relayTailPort   = 8082 // of the receiver, where the hub is a TCP proxy
	relayHealthPort = 8083 // of the hub, where it is a relay
	// relayPort is the dmsg port that receives.
	relayPort = 80
)

// What stands in the middle.
const (
	hubRelay  = "relay"  // ours, run as skydmsg runs it
	hubProxy  = "proxy"  // copies TCP connections through 64 KiB of its own memory
	hubSplice = "splice" // has the kernel copy them
)

// Relay returns the benchmark of dmsg: Streams streams from one client to another
// through one relay, beside the yardstick over the first wire, and the relay's CPU per
// byte beside that of a TCP proxy that carries as many connections between the same
// namespaces, once with a buffer and once with splice. Bytes are what the far
// application has read. The proxy's ends write and read plain TCP, blocks of 64 KiB.
//
//	a ── veth ── b ── veth ── c
//	relay-tx     relay-hub    relay-rx
func Relay() run.Scenario {
	return run.Scenario{
		Name:    "relay",
		Summary: "streams through a dmsg relay; its CPU beside that of a TCP proxy",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.Chain(e.Log, 3)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			series, err := e.Rounds(ctx, limitContestant(e, net.Links[0]),
				relayContestant(e, net, hubRelay), relayContestant(e, net, hubProxy), relayContestant(e, net, hubSplice))
			if err != nil {
				return run.Result{}, err
			}
			goodput := series.Values(hubRelay, "received_gbps")
			return run.Result{
				Metrics: map[string]float64{
					"goodput_gbps":        run.Median(goodput),
					"goodput_gbps_min":    slices.Min(goodput),
					"goodput_gbps_max":    slices.Max(goodput),
					"limit_ratio":         series.Ratio(hubRelay, "limit", "received_gbps"),
					"limit_gbps":          series.Median("limit", "received_gbps"),
					"cpu_s_per_gb":        series.Median(hubRelay, "hub_cpu_s_per_gb"),
					"cpu_ratio_vs_proxy":  series.Ratio(hubRelay, hubProxy, "hub_cpu_s_per_gb"),
					"cpu_ratio_vs_splice": series.Ratio(hubRelay, hubSplice, "hub_cpu_s_per_gb"),
					"proxy_cpu_s_per_gb":  series.Median(hubProxy, "hub_cpu_s_per_gb"),
					"proxy_goodput_gbps":  series.Median(hubProxy, "received_gbps"),
					"splice_cpu_s_per_gb": series.Median(hubSplice, "hub_cpu_s_per_gb"),
					"tx_cpu_s_per_gb":     series.Median(hubRelay, "tx_cpu_s_per_gb"),
					"rx_cpu_s_per_gb":     series.Median(hubRelay, "rx_cpu_s_per_gb"),
				},
				Samples: series,
			}, nil
		},
	}
}

// relayContestant starts the three processes, makes one transfer and stops them.
func relayContestant(e *run.Env, net *topo.Net, mode string) run.Contestant {
	return run.Contestant{Name: mode, Run: func(ctx context.Context) (run.Sample, error) {
		hubAddr := netip.AddrPortFrom(net.Links[0].B.IPv4.Addr(), relayHubPort)
		tail := netip.AddrPortFrom(net.Links[1].B.IPv4.Addr(), relayTailPort)
		// The receiver reaches the hub by the hub's other address.
		hubToTail := netip.AddrPortFrom(net.Links[1].A.IPv4.Addr(), relayHubPort)
		t, err := relayTransfer(ctx, e, relayPlaces{
			hub: net.NS[1], tx: net.NS[0], rx: net.NS[2], hubFromTx: hubAddr, hubFromRx: hubToTail, tail: tail,
		}, mode, relayEnd{Seconds: e.Duration.Seconds(), Streams: e.Streams, Verify: e.Verify})
		if err != nil {
			return nil, err
		}
		const giga = 1e9
		gb := float64(t.rx.Bytes) / giga
		return run.Sample{
			"received_gbps":    8 * gb / t.rx.Seconds,
			"tx_cpu_s_per_gb":  t.tx.CPUSeconds / gb,
			"rx_cpu_s_per_gb":  t.rx.CPUSeconds / gb,
			"hub_cpu_s_per_gb": t.hub.CPUSeconds / gb,
		}, nil
	}}
}

// relayPlaces says where the three processes run and by which addresses they reach
// each other.
type relayPlaces struct {
	hub, tx, rx          *topo.Namespace
	hubFromTx, hubFromRx netip.AddrPort
	tail                 netip.AddrPort // the receiver, for a proxy
}

type relayTotals struct {
	tx, rx streamTotals
	hub    hubTotals
}

// relayTransfer makes one transfer. Of end, the lengths count; keys and addresses
// are filled in.
func relayTransfer(ctx context.Context, e *run.Env, p relayPlaces, mode string, end relayEnd) (t relayTotals, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys, secrets := keyPairs(3) // hub, receiver, sender
	hub, err := e.Start(ctx, p.hub, relayHub, hubConfig{
		Mode: mode, Secret: secrets[0], Listen: fmt.Sprintf(":%d", relayHubPort), Tail: p.tail.String(),
	})
	if err != nil {
		return t, err
	}
	if mode == hubRelay {
		end.Hub, end.Peer = keys[0], keys[1]
	}
	atRx, atTx := end, end
	atRx.Secret, atRx.HubAddr, atRx.Listen = secrets[1], p.hubFromRx.String(), p.tail.String()
	atTx.Secret, atTx.HubAddr = secrets[2], p.hubFromTx.String()
	rx, err := e.Start(ctx, p.rx, relayRx, atRx)
	if err != nil {
		return t, err
	}
	tx, err := e.Start(ctx, p.tx, relayTx, atTx)
	if err == nil {
		err = tx.Result(&t.tx)
	}
	if err = errors.Join(err, hub.Stop(&t.hub), rx.Stop(&t.rx)); err != nil {
		return t, err
	}
	if !end.Cut && t.rx.Bytes != t.tx.Bytes || t.rx.Bytes == 0 {
		return t, fmt.Errorf("%s: %d bytes were written and %d read", mode, t.tx.Bytes, t.rx.Bytes)
	}
	return t, nil
}
