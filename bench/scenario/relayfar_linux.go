package scenario

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

// The wires of the far scenario: two of them, 100 ms there and back. They have no rate
// and no loss; what they carry ends with what the processor does.
const (
	farDelay = 25 * time.Millisecond // one way, of each wire
	// farLength is how many times Env.Duration a transfer takes, farRamp how much of
	// it is left to growing: 40 round trips at 2 s.
	farLength = 5
	farRamp   = 2
)

// RelayFar returns the benchmark of distance: Streams streams through a relay that is
// 50 ms of round trip from either end. goodput_mbps is what they bring after the ramp,
// whole_mbps from the first byte on. The wires are user-space ones without offloads,
// which take a packet of 1500 bytes at a time and most of the machine's processors, so
// the figures say whether windows grow, not what the relay could do.
//
//	a ══ 25 ms ══ b ══ 25 ms ══ c
//	relay-tx      relay-hub     relay-rx
func RelayFar() run.Scenario {
	return run.Scenario{
		Name:    "relay-far",
		Summary: "streams through a dmsg relay, 100 ms from end to end and back",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.New(e.Log)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			if err := farWires(net); err != nil {
				return run.Result{}, err
			}
			length := farLength * e.Duration
			series, err := e.Rounds(ctx, run.Contestant{Name: hubRelay, Run: func(ctx context.Context) (run.Sample, error) {
				t, err := relayTransfer(ctx, e, relayPlaces{
					hub: net.NS[1], tx: net.NS[0], rx: net.NS[2],
					hubFromTx: netip.AddrPortFrom(net.Links[0].B.IPv4.Addr(), relayHubPort),
					hubFromRx: netip.AddrPortFrom(net.Links[1].A.IPv4.Addr(), relayHubPort),
				}, hubRelay, relayEnd{Seconds: (length + 4*farDelay).Seconds(), Streams: e.Streams, Verify: e.Verify, Cut: true})
				if err != nil {
					return nil, err
				}
				const mega = 1e6
				return run.Sample{
					"goodput_mbps": t.rx.rate(farRamp*e.Duration, length) / mega,
					"whole_mbps":   t.rx.rate(0, length) / mega,
				}, nil
			}})
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{
				Metrics: map[string]float64{
					"goodput_mbps":  series.Median(hubRelay, "goodput_mbps"),
					"whole_mbps":    series.Median(hubRelay, "whole_mbps"),
					"round_trip_ms": float64((4 * farDelay).Milliseconds()),
				},
				Samples: series,
			}, nil
		},
	}
}

// farWires makes the three namespaces and the two wires.
func farWires(net *topo.Net) error {
	for _, name := range []string{"a", "b", "c"} {
		if _, err := net.Namespace(name); err != nil {
			return err
		}
	}
	for i := range 2 {
		if _, err := net.JoinDelayed(net.NS[i], net.NS[i+1], topo.Wire{Delay: farDelay}); err != nil {
			return err
		}
	}
	return nil
}
