package scenario

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/bench/vs"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// forwardTimeout bounds the wait until the two visors reach each other.
const forwardTimeout = 10 * time.Second

// Forward returns the benchmark of port forwarding: iperf3 through two daemons,
// beside the same through wireguard-go and nebula. best_peer_ratio is the median over
// the rounds of Skywire's rate by the better of those two in the round.
//
//	a ─────────────────────────── veth ─────────────────────────── b
//	iperf3 -c ─ 127.0.0.1:port ─ skyvisor     skyvisor ─ exposed port ─ iperf3 -s
func Forward() run.Scenario {
	return run.Scenario{
		Name:    "forward",
		Summary: "iperf3 through port forwarding, beside wireguard-go and nebula",
		Run: func(ctx context.Context, e *run.Env) (run.Result, error) {
			series, err := vs.Measure(ctx, e, vs.NewWireGuard(e), vs.NewNebula(), newForwarding(e))
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{Metrics: vs.Metrics(series), Samples: series}, nil
		},
	}
}

// forwarding is two visors and a port of the far one's key.
type forwarding struct {
	e         *run.Env
	near, far *visor
	target    netip.AddrPort
}

// newForwarding returns the vs.Peer that is Skywire.
func newForwarding(e *run.Env) vs.Peer {
	return &forwarding{e: e, target: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 15201)}
}

func (f *forwarding) Name() string           { return vs.Skywire }
func (f *forwarding) Target() netip.AddrPort { return f.target }

func (f *forwarding) Start(ctx context.Context, l *topo.Link) (err error) {
	f.far, err = startVisor(ctx, f.e, l.B.NS, func(c *config.Config) {
		c.Forwards = []api.ForwardSpec{{
			Expose: net.JoinHostPort("127.0.0.1", strconv.Itoa(vs.ServerPort)), Port: vs.ServerPort, Public: true,
		}}
	})
	if err != nil {
		return err
	}
	f.near, err = startVisor(ctx, f.e, l.A.NS, func(c *config.Config) {
		c.Links = []api.LinkSpec{{
			PK: f.far.PK, Type: f.e.Transport, Addr: netip.AddrPortFrom(l.B.IPv4.Addr(), visorPort).String(),
		}}
		c.Forwards = []api.ForwardSpec{{Reach: api.Peer(f.far.PK, vs.ServerPort), Local: f.target.String()}}
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	for {
		if _, err = f.near.Ping(ctx, f.far.PK); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("forward: no way to the far visor: %w\n%s", err, f.near.Log())
		case <-time.After(20 * time.Millisecond): // the link is not up yet, and a ping to nowhere fails at once
		}
	}
}

func (f *forwarding) Stop() {
	for _, v := range []*visor{f.near, f.far} {
		if err := v.end(); err != nil {
			f.e.Log.Warn().Err(err).Msg("stopping a visor")
		}
	}
}
