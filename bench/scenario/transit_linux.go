package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
)

const (
	transitMid = "transit-mid"

	transitIn  = 11 // label from a to b
	transitOut = 12 // label from b to c

	// transitRate in bit/s of route packets. Three processes share the two cores that
	// the yardstick fills with two: at full rate the sender starves the middle one, and
	// what forwarding costs depends on what the scheduler lets through. This rate takes
	// about half of the two cores. A slower one would measure how often an idle worker
	// is woken: at 1 Gbit/s a byte costs a quarter more.
	transitRate = 3e9
	// transitSample is how often the middle visor's counters are read.
	transitSample = 10 * time.Millisecond
	// transitLoss is the share of packets lost above which the machine was too busy
	// with something else.
	transitLoss = 0.02
)

// Transit returns the benchmark of a middle visor: what forwarding costs in CPU
// time per byte, beside what the yardstick's sender and receiver cost together; a
// middle visor opens once and seals once as those two do. Bytes are those of route
// packets, without frame headers and tags.
//
//	a ── veth ── b ── veth ── c
//	link-tx      transit-mid  link-rx
func Transit() run.Scenario {
	return run.Scenario{
		Name:    "transit",
		Summary: "CPU of a middle visor per byte forwarded, beside the yardstick",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.Chain(e.Log, 3)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			series, err := e.Rounds(ctx, limitContestant(e, net.Links[0]), transitContestant(e, net))
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{
				Metrics: map[string]float64{
					"cpu_ratio":          series.Ratio("transit", "limit", "cpu_s_per_gb"),
					"cpu_s_per_gb":       series.Median("transit", "cpu_s_per_gb"),
					"limit_cpu_s_per_gb": series.Median("limit", "cpu_s_per_gb"),
					"forwarded_gbps":     series.Median("transit", "forwarded_gbps"),
					"packets_per_s":      series.Median("transit", "packets_per_s"),
					"cpu_us_per_packet":  series.Median("transit", "cpu_us_per_packet"),
					"loss":               series.Median("transit", "loss"),
				},
				Samples: series,
			}, nil
		},
	}
}

// transitConfig is what the middle visor needs.
type transitConfig struct {
	Secret    cipher.SecKey
	From, To  cipher.PubKey // the neighbours
	Transport string
	Addr      string // where it listens
	Next      string // where To listens
}

// transitTotals is what the middle visor saw from the first packets that it
// forwarded to the last.
type transitTotals struct {
	Packets, Bytes int64
	Seconds        float64
	CPUSeconds     float64
	Drops          map[string]uint64 // by reason
}

func transitContestant(e *run.Env, net *topo.Net) run.Contestant {
	return run.Contestant{Name: "transit", Run: func(ctx context.Context) (run.Sample, error) {
		keys, secrets := keyPairs(3)
		atB := netip.AddrPortFrom(net.Links[0].B.IPv4.Addr(), linkPort).String()
		atC := netip.AddrPortFrom(net.Links[1].B.IPv4.Addr(), linkPort).String()

		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c, err := e.Start(ctx, net.NS[2], linkRx, linkConfig{
			Secret: secrets[2], Peer: keys[1], Transport: e.Transport, Addr: atC,
		})
		if err != nil {
			return nil, err
		}
		var tx, rx linkTotals
		var mid transitTotals
		b, err := e.Start(ctx, net.NS[1], transitMid, transitConfig{
			Secret: secrets[1], From: keys[0], To: keys[2], Transport: e.Transport, Next: atC,
			Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), linkPort).String(), // it has an address on either wire
		})
		if err != nil {
			return nil, errors.Join(err, c.Stop(&rx))
		}
		a, err := e.Start(ctx, net.NS[0], linkTx, linkConfig{
			Secret: secrets[0], Peer: keys[1], Transport: e.Transport, Addr: atB,
			Seconds: e.Duration.Seconds(), Size: e.Size, Label: transitIn, Rate: transitRate,
		})
		if err == nil {
			err = a.Result(&tx)
		}
		if err = errors.Join(err, b.Stop(&mid), c.Stop(&rx)); err != nil {
			return nil, err
		}
		loss := 1 - float64(rx.Packets)/float64(tx.Packets)
		if mid.Packets == 0 {
			return nil, fmt.Errorf("transit: of %d packets %d arrived; drops at the middle: %v", tx.Packets, rx.Packets, mid.Drops)
		}
		if loss > transitLoss {
			e.Log.Warn().Float64("loss", run.Round(loss)).Interface("drops", mid.Drops).Msg("the middle visor did not get or not carry all of the flow")
		}
		const giga = 1e9
		return run.Sample{
			"cpu_s_per_gb":      mid.CPUSeconds / (float64(mid.Bytes) / giga),
			"cpu_us_per_packet": mid.CPUSeconds / float64(mid.Packets) * 1e6,
			"forwarded_gbps":    float64(mid.Bytes) * 8 / giga / mid.Seconds,
			"packets_per_s":     float64(mid.Packets) / mid.Seconds,
			"packet_bytes":      float64(tx.Size),
			"loss":              loss,
		}, nil
	}}
}

func transitRoles() []run.Role {
	return []run.Role{run.NewRole(transitMid, transitForward)}
}

// transitForward connects onwards, then forwards until it is told to stop.
func transitForward(ctx context.Context, cfg transitConfig, ready func()) (t transitTotals, err error) {
	lc := linkConfig{Secret: cfg.Secret, Peer: cfg.To, Transport: cfg.Transport, Addr: cfg.Addr}
	static, err := cipher.NewStaticKey(cfg.Secret)
	if err != nil {
		return t, err
	}
	table := forward.New(forward.Config{PubKey: static.PubKey(), Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	defer table.Close()
	e, typ, err := linkEngine(lc, table, true)
	if err != nil {
		return t, err
	}
	if _, err := table.AddRule(forward.RuleSpec{
		In: forward.Neighbour{Peer: cfg.From}, InLabel: transitIn,
		Out: forward.Neighbour{Peer: cfg.To}, OutLabel: transitOut,
	}); err != nil {
		return t, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() { cancel(); err = errors.Join(err, <-done) }()
	next, err := netip.ParseAddrPort(cfg.Next)
	if err != nil {
		return t, err
	}
	l, err := e.AddLink(cfg.To, typ, next)
	if err != nil {
		return t, err
	}
	if err := l.WaitUp(ctx); err != nil {
		return t, err
	}
	if err := settleMTU(ctx, l); err != nil {
		return t, err
	}
	ready()
	t = meterRule(ctx, table)
	t.Drops = table.Drops()
	return t, nil
}

// meterRule reads the counters of the one forwarding rule until ctx ends. Bytes
// and CPU time are those between the same two readings, the first and the last at
// which something was new, so that neither handshakes nor idle time count.
func meterRule(ctx context.Context, table *forward.Engine) transitTotals {
	type reading struct {
		at             time.Time
		cpu            float64
		packets, bytes int64
	}
	read := func() reading {
		r := reading{at: time.Now(), cpu: cpuSeconds()}
		for _, i := range table.Rules() {
			if i.Op == "forward" {
				r.packets, r.bytes = int64(i.Packets), int64(i.Bytes)
			}
		}
		return r
	}
	tick := time.NewTicker(transitSample)
	defer tick.Stop()
	var first, last reading
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		switch r := read(); {
		case r.packets == last.packets:
		case first.packets == 0:
			first, last = r, r
		default:
			last = r
		}
	}
	return transitTotals{
		Packets: last.packets - first.packets, Bytes: last.bytes - first.bytes,
		Seconds: last.at.Sub(first.at).Seconds(), CPUSeconds: last.cpu - first.cpu,
	}
}
