package scenario

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/skyminer/skywire/bench/limit"
	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

const (
	limitTx   = "limit-tx"
	limitRx   = "limit-rx"
	limitPort = 7000
)

// Limit returns the yardstick: package limit between two namespaces.
//
//	a ── veth ── b
//	limit-tx     limit-rx
func Limit() run.Scenario {
	return run.Scenario{
		Name:    "limit",
		Summary: "the yardstick: GSO datagrams, one AEAD each way, nothing else of ours",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.Chain(e.Log, 2)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			series, err := e.Rounds(ctx, limitContestant(e, net.Links[0]))
			if err != nil {
				return run.Result{}, err
			}
			gbps := series.Values("limit", "received_gbps")
			return run.Result{
				Metrics: map[string]float64{
					"received_gbps":     run.Median(gbps),
					"received_gbps_min": slices.Min(gbps),
					"received_gbps_max": slices.Max(gbps),
					"tx_cpu_s_per_gb":   series.Median("limit", "tx_cpu_s_per_gb"),
					"rx_cpu_s_per_gb":   series.Median("limit", "rx_cpu_s_per_gb"),
					"loss":              series.Median("limit", "loss"),
				},
				Samples: series,
			}, nil
		},
	}
}

// limitRoles are the two processes of the yardstick.
func limitRoles() []run.Role {
	return []run.Role{
		run.NewRole(limitTx, func(ctx context.Context, cfg limit.Config, ready func()) (limit.Totals, error) {
			ready()
			return limit.Send(ctx, cfg)
		}),
		run.NewRole(limitRx, limit.Receive),
	}
}

// limitContestant is the yardstick over one wire, for scenarios that report a
// ratio to it. It sends from l.A to l.B. Its metrics: received_gbps, loss, and CPU
// per 10^9 bytes, tx_cpu_s_per_gb of bytes sent and rx_cpu_s_per_gb of bytes
// received, cpu_s_per_gb of both together. What the kernel does for a sender, up to the far socket's queue where
// the two ends are on one machine, is in the sender's CPU.
func limitContestant(e *run.Env, l *topo.Link) run.Contestant {
	return run.Contestant{Name: "limit", Run: func(ctx context.Context) (run.Sample, error) {
		cfg := limit.Config{
			Addr:    netip.AddrPortFrom(l.B.IPv4.Addr(), limitPort).String(),
			Key:     make([]byte, 32),
			Seconds: e.Duration.Seconds(),
		}
		rand.Read(cfg.Key)
		ctx, cancel := context.WithCancel(ctx) // takes the other process along on errors
		defer cancel()
		receiver, err := e.Start(ctx, l.B.NS, limitRx, cfg)
		if err != nil {
			return nil, err
		}
		var tx, rx limit.Totals
		sender, err := e.Start(ctx, l.A.NS, limitTx, cfg)
		if err == nil {
			err = sender.Result(&tx)
		}
		if err = errors.Join(err, receiver.Stop(&rx)); err != nil {
			return nil, err
		}
		if rx.Packets == 0 || rx.Bad > 0 {
			return nil, fmt.Errorf("limit: of %d datagrams %d arrived and %d did not open", tx.Packets, rx.Packets, rx.Bad)
		}
		return run.Sample{
			"received_gbps":   rx.Gbps(),
			"tx_cpu_s_per_gb": tx.CPUPerGB(),
			"rx_cpu_s_per_gb": rx.CPUPerGB(),
			"cpu_s_per_gb":    tx.CPUPerGB() + rx.CPUPerGB(),
			"loss":            limit.Loss(tx, rx),
		}, nil
	}}
}
