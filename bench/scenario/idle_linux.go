package scenario

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	idlePeers = "idle-peers"
	// idleLinks is how many links there are when Streams does not say.
	idleLinks = 500
	// idlePerAddr is how many come from one address: a visor takes no more than 64.
	idlePerAddr = 50
	// idleSettle is how many times Env.Duration the visor is left alone before its
	// memory is read. The collector runs when it wants to.
	idleSettle = 5
	// idleAtOnce bounds how many peers connect at the same time.
	idleAtOnce = 8
)

// Idle returns the benchmark of memory: what an idle daemon has resident, and how
// much more for each link to a visor that says nothing but keep-alives. Every peer
// has a key, a link and a session of its own; they are visors without streams, all in
// one process.
//
//	a ── veth ── b
//	idle-peers   skyvisor
func Idle() run.Scenario {
	return run.Scenario{
		Name:    "idle",
		Summary: "resident memory of an idle daemon and of each idle link",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			net, err := topo.Chain(e.Log, 2)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, net.Close()) }()
			n := idleLinks
			if e.Streams > 1 {
				n = e.Streams
			}
			addrs, err := idleAddrs(net.Links[0], n)
			if err != nil {
				return run.Result{}, err
			}
			series, err := e.Rounds(ctx, idleContestant(e, net.Links[0], addrs, n))
			if err != nil {
				return run.Result{}, err
			}
			metrics := make(map[string]float64)
			for _, m := range []string{"rss_mb", "rss_anon_mb", "rss_linked_mb", "rss_kb_per_link", "links"} {
				metrics[m] = series.Median("idle", m)
			}
			return run.Result{Metrics: metrics, Samples: series}, nil
		},
	}
}

// idleAddrs gives the wire more addresses, so that n peers come from enough
// different ones: from a to the k-th address of b goes from the k-th of a.
func idleAddrs(l *topo.Link, n int) (ofB []netip.Addr, err error) {
	for k := range (n + idlePerAddr - 1) / idlePerAddr {
		if k > 255 {
			return nil, fmt.Errorf("idle: %d links are more than there are addresses for", n)
		}
		a, b := netip.AddrFrom4([4]byte{10, 80, byte(k), 1}), netip.AddrFrom4([4]byte{10, 80, byte(k), 2})
		if err := errors.Join(
			l.A.NS.AddAddr(l.A.Dev, netip.PrefixFrom(a, 24)),
			l.B.NS.AddAddr(l.B.Dev, netip.PrefixFrom(b, 24)),
		); err != nil {
			return nil, err
		}
		ofB = append(ofB, b)
	}
	return ofB, nil
}

// idleConfig goes to the process of the peers.
type idleConfig struct {
	Peer      cipher.PubKey
	Transport string
	Addrs     []string // of the visor, each good for idlePerAddr peers
	Links     int
}

func idleContestant(e *run.Env, l *topo.Link, addrs []netip.Addr, n int) run.Contestant {
	return run.Contestant{Name: "idle", Run: func(ctx context.Context) (_ run.Sample, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		v, err := startVisor(ctx, e, l.B.NS, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, v.end()) }()
		before, err := settledBytes(ctx, e, v.PID())
		if err != nil {
			return nil, err
		}
		cfg := idleConfig{Peer: v.PK, Transport: e.Transport, Links: n}
		for _, a := range addrs {
			cfg.Addrs = append(cfg.Addrs, netip.AddrPortFrom(a, visorPort).String())
		}
		peers, err := e.Start(ctx, l.A.NS, idlePeers, cfg)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, peers.Stop(&struct{}{})) }()
		after, err := settledBytes(ctx, e, v.PID())
		if err != nil {
			return nil, err
		}
		s, err := v.Status(ctx)
		if err != nil {
			return nil, err
		}
		if s.LinksUp != n || s.Sessions != n {
			return nil, fmt.Errorf("idle: %d of %d links are up, with %d sessions", s.LinksUp, n, s.Sessions)
		}
		const mega, kilo = 1e6, 1e3
		return run.Sample{
			"rss_mb":          float64(before.all) / mega,
			"rss_anon_mb":     float64(before.anon) / mega,
			"rss_linked_mb":   float64(after.all) / mega,
			"rss_kb_per_link": float64(after.all-before.all) / kilo / float64(n),
			"links":           float64(n),
		}, nil
	}}
}

func idleRoles() []run.Role { return []run.Role{run.NewRole(idlePeers, idleConnect)} }

// idleConnect keeps cfg.Links visors connected until it is told to stop.
func idleConnect(ctx context.Context, cfg idleConfig, ready func()) (_ struct{}, err error) {
	nodes := make([]*node, cfg.Links)
	defer func() {
		for _, n := range nodes {
			if n != nil {
				err = errors.Join(err, n.Close())
			}
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(idleAtOnce)
	for i := range nodes {
		g.Go(func() error {
			_, sk := cipher.GenerateKeyPair()
			n, err := startNode(gctx, nodeConfig{
				Secret: sk, NoStreams: true, Workers: 1,
				Links: []api.LinkSpec{{PK: cfg.Peer, Type: cfg.Transport, Addr: cfg.Addrs[i/idlePerAddr]}},
			})
			if err != nil {
				return err
			}
			nodes[i] = n
			return n.links.Links()[0].WaitUp(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return struct{}{}, err
	}
	ready()
	<-ctx.Done()
	return struct{}{}, nil
}

// resident is how much of a process is in memory, in bytes.
type resident struct {
	all  int64
	anon int64 // its own, without the pages of the program's file
}

// settledBytes leaves a process alone for a while and returns what it has resident then.
func settledBytes(ctx context.Context, e *run.Env, pid int) (resident, error) {
	select {
	case <-ctx.Done():
		return resident{}, ctx.Err()
	case <-time.After(idleSettle * e.Duration):
		return residentBytes(pid)
	}
}

// residentBytes reads smaps_rollup, which unlike the counters in status is exact.
func residentBytes(pid int) (resident, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return resident{}, fmt.Errorf("idle: %w", err)
	}
	return parseRollup(b)
}

// parseRollup finds the sizes in the text of smaps_rollup, proc_pid_smaps(5).
func parseRollup(b []byte) (r resident, err error) {
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 2 {
			continue
		}
		var to *int64
		switch f[0] {
		case "Rss:":
			to = &r.all
		case "Anonymous:":
			to = &r.anon
		default:
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return resident{}, fmt.Errorf("idle: smaps_rollup: %w", err)
		}
		*to = kib << 10
	}
	if r.all == 0 {
		return resident{}, errors.New("idle: smaps_rollup has no Rss")
	}
	return r, nil
}
