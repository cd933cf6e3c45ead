package vs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

// A Peer is a way from namespace a to an iperf3 server in namespace b.
type Peer interface {
	// Name is one word, for tables and metrics.
	Name() string
	// Start brings the way up over l, from l.A to l.B, and returns when it works.
	// The iperf3 server listens on all addresses of l.B.NS, at ServerPort. After
	// an error Stop is called too.
	Start(ctx context.Context, l *topo.Link) error
	// Target is where iperf3 in l.A.NS dials. Valid after Start.
	Target() netip.AddrPort
	// Stop takes the way down and leaves nothing behind.
	Stop()
}

// Names of the peers and of the one that is compared with them.
const (
	Skywire   = "skywire"
	Plain     = "plain"
	WireGuard = "wireguard-go"
	Nebula    = "nebula"
)

const gbps = "gbps"

// Scenario returns the comparison as a run.Scenario. skywire makes the Peer that
// carries the stream through two visors; with nil the others are compared with
// plain TCP only.
func Scenario(skywire func(*run.Env) Peer) run.Scenario {
	return run.Scenario{
		Name:    "vs",
		Summary: "one TCP stream through plain TCP, wireguard-go, nebula and Skywire",
		Run: func(ctx context.Context, e *run.Env) (run.Result, error) {
			peers := []Peer{NewPlain(), NewWireGuard(e), NewNebula()}
			if skywire != nil {
				peers = append(peers, skywire(e))
			}
			series, err := Measure(ctx, e, peers...)
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{Metrics: Metrics(series), Samples: series}, nil
		},
	}
}

// Measure starts the peers on one wire, runs e.Pairs rounds of iperf3 through each
// in turn, and stops them. The one metric is "gbps", Gbit/s received.
func Measure(ctx context.Context, e *run.Env, peers ...Peer) (_ run.Series, err error) {
	net, err := topo.Chain(e.Log, 2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	l := net.Links[0]
	server, err := startServer(ctx, l.B.NS)
	if err != nil {
		return nil, err
	}
	defer server.stop()

	var contestants []run.Contestant
	for _, p := range peers {
		defer p.Stop()
		e.Log.Info().Str("peer", p.Name()).Msg("starting")
		if err := p.Start(ctx, l); err != nil {
			return nil, fmt.Errorf("vs: starting %s: %w", p.Name(), err)
		}
		contestants = append(contestants, run.Contestant{
			Name: p.Name(),
			Run: func(ctx context.Context) (run.Sample, error) {
				rate, err := server.transfer(ctx, l.A.NS, p.Target(), e.Duration, e.Streams)
				return run.Sample{gbps: rate}, err
			},
		})
	}
	return e.Rounds(ctx, contestants...)
}

// Metrics returns for each contestant <name>_gbps and <name>_plain_ratio, and
// where Skywire took part skywire_<name>_ratio and best_peer_ratio: the median over
// the rounds of Skywire by the better of the other programs in that round. Dashes in
// names become underscores.
func Metrics(s run.Series) map[string]float64 {
	m := make(map[string]float64)
	for name := range s {
		key := strings.ReplaceAll(name, "-", "_")
		m[key+"_gbps"] = s.Median(name, gbps)
		if name != Plain && len(s[Plain]) > 0 {
			m[key+"_plain_ratio"] = s.Ratio(name, Plain, gbps)
		}
		if name != Skywire && name != Plain && len(s[Skywire]) > 0 {
			m["skywire_"+key+"_ratio"] = s.Ratio(Skywire, name, gbps)
		}
	}
	if best := bestPeer(s); len(best) > 0 && len(s[Skywire]) > 0 {
		ratios := s.Values(Skywire, gbps)
		for i := range ratios {
			ratios[i] /= best[i]
		}
		m["best_peer_ratio"] = run.Median(ratios)
	}
	return m
}

// bestPeer returns, by round, the rate of the best of the programs that are neither
// Skywire nor no program at all. All took part in every round.
func bestPeer(s run.Series) (best []float64) {
	for name := range s {
		if name == Skywire || name == Plain {
			continue
		}
		for i, v := range s.Values(name, gbps) {
			if i == len(best) {
				best = append(best, v)
			}
			best[i] = max(best[i], v)
		}
	}
	return best
}

// plain is the veth pair itself.
type plain struct{ target netip.AddrPort }

// NewPlain returns the Peer that is no software at all: TCP over the wire.
func NewPlain() Peer { return &plain{} }

func (p *plain) Name() string { return Plain }
func (p *plain) Start(_ context.Context, l *topo.Link) error {
	p.target = netip.AddrPortFrom(l.B.IPv4.Addr(), ServerPort)
	return nil
}
func (p *plain) Target() netip.AddrPort { return p.target }
func (p *plain) Stop()                  {}
