package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	relayIdlers = "relay-idlers"
	// relaySessions is how many sessions there are when Sessions does not say: what
	// a limit of 20,000 open files leaves to the relay.
	relaySessions = 19_000
	// relayPerProcess is how many of them one process of clients holds, relayAtOnce
	// how many of these connect at the same time.
	relayPerProcess = 4_750
	relayAtOnce     = 8
)

// RelayIdle returns the benchmark of a relay's memory: what it has resident, and how
// many goroutines it has, for each client that has a session and says nothing but
// keep-alives. The memory is read when everything has been left alone for a while,
// idleSettle times Env.Duration. It runs once, whatever Pairs says.
//
//	a ── veth ── b
//	relay-idlers relay-hub
func RelayIdle() run.Scenario {
	return run.Scenario{
		Name:    "relay-idle",
		Summary: "resident memory and goroutines of a dmsg relay for each idle session (one run of a minute)",
		Run: func(ctx context.Context, e *run.Env) (_ run.Result, err error) {
			wire, err := topo.Chain(e.Log, 2)
			if err != nil {
				return run.Result{}, err
			}
			defer func() { err = errors.Join(err, wire.Close()) }()
			n := relaySessions
			if e.Sessions > 0 {
				n = e.Sessions
			}
			sample, err := relayIdle(ctx, e, wire.Links[0], n)
			if err != nil {
				return run.Result{}, err
			}
			return run.Result{Metrics: sample}, nil
		},
	}
}

// idlersConfig goes to a process of clients.
type idlersConfig struct {
	Hub      cipher.PubKey
	HubAddr  string
	Sessions int
}

// relayIdle measures the relay at the far end of l, first by itself and then with n
// sessions.
func relayIdle(ctx context.Context, e *run.Env, l *topo.Link, n int) (_ run.Sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pk, sk := cipher.GenerateKeyPair()
	hub, err := e.Start(ctx, l.B.NS, relayHub, hubConfig{Mode: hubRelay, Secret: sk, Listen: fmt.Sprintf(":%d", relayHubPort)})
	if err != nil {
		return nil, err
	}
	before, err := settledBytes(ctx, e, hub.PID())
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	idlers := make([]*run.Process, (n+relayPerProcess-1)/relayPerProcess)
	var g errgroup.Group
	for i := range idlers {
		g.Go(func() (err error) {
			idlers[i], err = e.Start(ctx, l.A.NS, relayIdlers, idlersConfig{
				Hub: pk, HubAddr: netip.AddrPortFrom(l.B.IPv4.Addr(), relayHubPort).String(),
				Sessions: min(relayPerProcess, n-i*relayPerProcess),
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	e.Log.Info().Int("sessions", n).Dur("took", took).Msg("connected")
	after, err := settledBytes(ctx, e, hub.PID())
	if err != nil {
		return nil, err
	}
	if up, err := relayHealth(ctx, l.B.NS); err != nil || up != n {
		return nil, errors.Join(err, fmt.Errorf("relay-idle: of %d sessions %d are up", n, up))
	}
	// The relay first, which is asked for its goroutines while it has all sessions.
	var used hubTotals
	err = hub.Stop(&used)
	for _, p := range idlers {
		err = errors.Join(err, p.Stop(&struct{}{}))
	}
	if err != nil {
		return nil, err
	}
	const mega, kilo = 1e6, 1e3
	return run.Sample{
		"sessions":               float64(n),
		"kb_per_session":         float64(after.all-before.all) / kilo / float64(n),
		"goroutines_per_session": float64(used.Goroutines) / float64(n),
		"rss_mb":                 float64(after.all) / mega,
		"rss_without_mb":         float64(before.all) / mega,
		"connects_per_s":         float64(n) / took.Seconds(),
		"cpu_ms_per_session":     1e3 * used.CPUSeconds / float64(n),
	}, nil
}

// relayHealth asks the relay in ns how many sessions it has.
func relayHealth(ctx context.Context, ns *topo.Namespace) (sessions int, err error) {
	err = ns.Do(func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", relayHealthPort))
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { c.Close() })()
		defer c.Close()
		if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: relay\r\n\r\n"); err != nil {
			return err
		}
		rs, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer rs.Body.Close()
		var health struct{ Sessions int }
		err = json.NewDecoder(rs.Body).Decode(&health)
		sessions = health.Sessions
		return err
	})
	return sessions, err
}

// relayIdleConnect keeps cfg.Sessions clients connected until it is told to stop.
func relayIdleConnect(ctx context.Context, cfg idlersConfig, ready func()) (_ struct{}, err error) {
	clients := make([]*dmsg.Client, cfg.Sessions)
	defer func() {
		var g errgroup.Group
		for _, c := range clients {
			if c != nil {
				g.Go(c.Close)
			}
		}
		err = errors.Join(err, g.Wait())
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(relayAtOnce)
	for i := range clients {
		g.Go(func() error {
			_, sk := cipher.GenerateKeyPair()
			end := relayEnd{Secret: sk, Hub: cfg.Hub, HubAddr: cfg.HubAddr}
			if gctx.Err() != nil {
				return gctx.Err()
			}
			var err error
			clients[i], err = end.client(ctx) // not gctx, which ends with the last of them
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return struct{}{}, err
	}
	ready()
	<-ctx.Done()
	return struct{}{}, nil
}
