package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// How often a visor speaks to which service: as controlplane/transport and
	// controlplane/visor do. A route finder is asked when a route is made, thus once in
	// some minutes for each peer; this is a visor that makes six routes each minute.
	simHeartbeat = time.Minute
	simBind      = time.Minute
	simOffer     = time.Minute // those that offer a service
	simLook      = time.Minute // for automatic transports
	simUptime    = 5 * time.Minute
	simPaths     = 10 * time.Second

	simShare = 20 // every twentieth offers a service
	simList  = 32 // services are asked for, and the transports of simNear visors
	simNear  = 3
	simMoved = 10 // one round trip in so many differs much from the last

	// Who is told that a service cannot serve at the moment comes back after this time,
	// ± 50 %, and each time twice that, up to simMost.
	simAgain = time.Second
	simMost  = 30 * time.Second
)

// A simVisor is what a deployment sees of a visor.
type simVisor struct {
	crowd      *crowd
	pk         cipher.PubKey
	sk         cipher.SecKey
	self       deployment.Instance
	offers     bool
	transports []deployment.SignedTransport
	rtt        []int64 // of these, in µs
	http       *http.Transport
	dir        *disc.HTTPClient
	dmsg       *dmsg.Client

	tpd *deployment.TransportDiscovery
	ar  *deployment.AddressResolver
	rf  *deployment.RouteFinder
	sd  *deployment.ServiceDiscovery
	ut  *deployment.UptimeTracker
}

// newSimVisor returns a visor without transports, with connections of its own.
func newSimVisor(c *crowd, offers bool) *simVisor {
	v := &simVisor{crowd: c, self: deployment.NewInstance(time.Now()), offers: offers, http: deployment.NewRoundTripper(nil)}
	v.pk, v.sk = cipher.GenerateKeyPair()
	caller := deployment.NewCaller(v.sk, v, zerolog.Nop())
	v.tpd = deployment.NewTransportDiscovery(c.conf.TransportDiscovery, caller)
	v.ar = deployment.NewAddressResolver(c.conf.AddressResolver, caller)
	v.rf = deployment.NewRouteFinder(c.conf.RouteFinder, caller)
	v.sd = deployment.NewServiceDiscovery(c.conf.ServiceDiscovery, caller)
	v.ut = deployment.NewUptimeTracker(c.conf.UptimeTracker, caller)
	return v
}

// RoundTrip counts.
func (v *simVisor) RoundTrip(r *http.Request) (*http.Response, error) {
	v.crowd.requests.Add(1)
	return v.http.RoundTrip(r)
}

// start has a visor join: dmsg, address, transports, uptime and offer.
func (v *simVisor) start(ctx context.Context) error {
	var err error
	if v.dir, err = disc.New(v.crowd.conf.DmsgDiscovery, disc.HTTPOptions{Transport: v}); err != nil {
		return err
	}
	cfg := dmsg.DefaultConfig()
	cfg.SecKey, cfg.Directory, cfg.MinSessions, cfg.ClientType = v.sk, v.dir, 1, disc.ClientVisor
	if v.dmsg, err = dmsg.New(cfg); err != nil {
		return err
	}
	go func() { _ = v.dmsg.Run(ctx) }() // Close ends it, with the same error
	select {
	case <-v.dmsg.Ready():
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("services: a visor has no dmsg session after a minute")
	}
	for _, do := range []func(context.Context) error{v.register, v.bind, v.uptime, v.offer} {
		if err := v.insist(ctx, do); err != nil {
			return err
		}
	}
	return nil
}

// insist does something until the service can serve, as visors do.
func (v *simVisor) insist(ctx context.Context, do func(context.Context) error) error {
	for pause := simAgain; ; pause = min(2*pause, simMost) {
		err := do(ctx)
		if !errors.Is(err, deployment.ErrUnavailable) {
			return err
		}
		v.crowd.put(&v.crowd.retries)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (v *simVisor) register(ctx context.Context) error {
	reply, err := v.tpd.Register(ctx, v.self, v.transports)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if len(reply.Refused) > 0 {
		return fmt.Errorf("services: a transport was refused: %s", reply.Refused[0].Text)
	}
	return nil
}

func (v *simVisor) bind(ctx context.Context) error {
	_, err := v.ar.Bind(ctx, v.self, deployment.Bind{Port: visorPort, Addresses: []string{"192.168.1.2"}})
	return err
}

func (v *simVisor) uptime(ctx context.Context) error { return v.ut.Update(ctx, v.self, "bench") }

func (v *simVisor) offer(ctx context.Context) error {
	if !v.offers {
		return nil
	}
	_, err := v.sd.Register(ctx, deployment.Service{
		Address: deployment.ServiceAddr{PK: v.pk, Port: visorPort}, Type: deployment.ServiceSkysocks, Version: "bench",
	})
	return err
}

// look asks who offers something, and with whom some visors are connected, as one does
// that wants automatic transports.
func (v *simVisor) look(ctx context.Context) error {
	_, err := v.sd.Services(ctx, deployment.Filter{Type: deployment.ServiceSkysocks, Quantity: simList})
	for range simNear {
		if err == nil {
			_, err = v.tpd.Edge(ctx, v.crowd.visors[rand.N(len(v.crowd.visors))].pk)
		}
	}
	return err
}

// heartbeat reports on all transports, which must be known.
func (v *simVisor) heartbeat(ctx context.Context) error {
	stats := make([]deployment.TransportStats, len(v.transports))
	for i, t := range v.transports {
		if v.rtt[i] == 0 || rand.N(simMoved) == 0 {
			v.rtt[i] = 1000 + rand.Int64N(100_000)
		}
		stats[i] = deployment.TransportStats{ID: t.ID, RTTMicros: v.rtt[i] * (95 + rand.Int64N(11)) / 100, Mbps: 100, SentBytes: rand.Uint64N(1 << 40)}
	}
	unknown, err := v.tpd.Heartbeat(ctx, v.self, stats)
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("services: %d of %d transports are not known any more", len(unknown), len(stats))
	}
	return err
}

// paths asks for two ways to a random visor, and looks whether they lead there. That
// there is no answer is noted: a visor would not ask for that route again.
func (v *simVisor) paths(ctx context.Context) error {
	to := v.crowd.visors[rand.N(len(v.crowd.visors))]
	if to == v {
		return nil
	}
	begin := time.Now()
	paths, err := v.rf.Paths(ctx, graph.Query{From: v.pk, To: to.pk, MaxHops: 8, K: 2})
	took := float64(time.Since(begin).Nanoseconds()) / 1e6
	if errors.Is(err, deployment.ErrUnavailable) {
		v.crowd.put(&v.crowd.unanswered)
		return nil
	}
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	for _, p := range paths {
		at := v.pk
		for _, h := range p.Hops {
			if h.From != at {
				return fmt.Errorf("services: a path with a gap after %s", at)
			}
			at = h.To
		}
		if at != to.pk {
			return fmt.Errorf("services: a path to %s ends at %s", to.pk, at)
		}
	}
	v.crowd.mu.Lock()
	defer v.crowd.mu.Unlock()
	v.crowd.times = append(v.crowd.times, took)
	return nil
}

// live does all this at its times, from a random moment on, until ctx ends.
func (v *simVisor) live(ctx context.Context) error {
	type duty struct {
		every time.Duration
		do    func(context.Context) error
		next  time.Time
	}
	duties := []duty{
		{every: simHeartbeat, do: v.heartbeat}, {every: simBind, do: v.bind}, {every: simLook, do: v.look},
		{every: simUptime, do: v.uptime}, {every: simPaths, do: v.paths},
	}
	if v.offers {
		duties = append(duties, duty{every: simOffer, do: v.offer})
	}
	now := time.Now()
	for i := range duties {
		duties[i].next = now.Add(rand.N(duties[i].every))
	}
	for {
		due := &duties[0]
		for i := range duties {
			if duties[i].next.Before(due.next) {
				due = &duties[i]
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(due.next)):
		}
		if err := v.insist(ctx, due.do); err != nil && ctx.Err() == nil {
			return err
		}
		due.next = due.next.Add(due.every)
	}
}

// close ends the dmsg session and all connections.
func (v *simVisor) close() error {
	var err error
	if v.dmsg != nil {
		err = v.dmsg.Close()
	}
	if v.dir != nil {
		v.dir.Close()
	}
	v.http.CloseIdleConnections()
	return err
}
