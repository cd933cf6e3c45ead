package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// How often a visor speaks to which service.
	simHeartbeat = time.Minute
	simBind      = time.Minute
	simOffer     = time.Minute // those that offer a service
	simUptime    = 5 * time.Minute
	simPaths     = 10 * time.Second // a busy one, that needs six new routes each minute

	simShare  = 20 // every twentieth offers a service
	simAtOnce = 64 // of the visors start at once
)

func servicesRoles() []run.Role { return []run.Role{run.NewRole(servicesLoad, servicesAsk)} }

// A simVisor is what a deployment sees of a visor.
type simVisor struct {
	crowd      *crowd
	pk         cipher.PubKey
	sk         cipher.SecKey
	self       deployment.Instance
	offers     bool
	transports []deployment.SignedTransport
	dmsg       *dmsg.Client

	tpd *deployment.TransportDiscovery
	ar  *deployment.AddressResolver
	rf  *deployment.RouteFinder
	sd  *deployment.ServiceDiscovery
	ut  *deployment.UptimeTracker
}

// A crowd is all visors.
type crowd struct {
	conf     deployment.Conf
	visors   []*simVisor
	http     *http.Transport
	requests atomic.Int64

	mu    sync.Mutex
	times []float64 // of questions to the route finder, in ms
}

// RoundTrip counts.
func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.http.RoundTrip(r)
}

// newCrowd makes n visors with servicesDegree transports each, signed by both edges: one
// to the next, so that there is a path between any two, the others to random ones.
func newCrowd(conf deployment.Conf, n int) (*crowd, error) {
	c := &crowd{conf: conf, visors: make([]*simVisor, n), http: &http.Transport{MaxIdleConnsPerHost: 4 * simAtOnce}}
	for i := range c.visors {
		v := &simVisor{crowd: c, self: deployment.NewInstance(time.Now()), offers: i%simShare == 0}
		v.pk, v.sk = cipher.GenerateKeyPair()
		caller := deployment.NewCaller(v.sk, c, zerolog.Nop())
		v.tpd = deployment.NewTransportDiscovery(conf.TransportDiscovery, caller)
		v.ar = deployment.NewAddressResolver(conf.AddressResolver, caller)
		v.rf = deployment.NewRouteFinder(conf.RouteFinder, caller)
		v.sd = deployment.NewServiceDiscovery(conf.ServiceDiscovery, caller)
		v.ut = deployment.NewUptimeTracker(conf.UptimeTracker, caller)
		c.visors[i] = v
	}
	seen := make(map[deployment.TransportID]bool)
	for i, a := range c.visors {
		for k := 0; k < servicesDegree; {
			b := c.visors[(i+1)%n]
			if k > 0 {
				b = c.visors[rand.N(n)]
			}
			t := deployment.NewTransport(a.pk, b.pk, deployment.TypeSUDPH, deployment.LabelAutomatic)
			if a == b || seen[t.ID] {
				continue
			}
			seen[t.ID] = true
			k++
			signed := deployment.SignedTransport{Transport: t}
			for edge, pk := range t.Edges {
				sk := a.sk
				if pk == b.pk {
					sk = b.sk
				}
				var err error
				if signed.Signatures[edge], err = cipher.Sign(sk, t.SignedBytes()); err != nil {
					return nil, err
				}
			}
			a.transports, b.transports = append(a.transports, signed), append(b.transports, signed)
		}
	}
	return c, nil
}

// start has a visor join: dmsg, address, transports, uptime and offer.
func (v *simVisor) start(ctx context.Context, dir disc.Directory) error {
	cfg := dmsg.DefaultConfig()
	cfg.SecKey, cfg.Directory, cfg.MinSessions, cfg.ClientType = v.sk, dir, 1, disc.ClientVisor
	var err error
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
	reply, err := v.tpd.Register(ctx, v.self, v.transports)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if len(reply.Refused) > 0 {
		return fmt.Errorf("services: a transport was refused: %s", reply.Refused[0].Text)
	}
	return errors.Join(v.bind(ctx), v.uptime(ctx), v.offer(ctx))
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

// heartbeat reports on all transports, which must be known.
func (v *simVisor) heartbeat(ctx context.Context) error {
	stats := make([]deployment.TransportStats, len(v.transports))
	for i, t := range v.transports {
		stats[i] = deployment.TransportStats{ID: t.ID, RTTMicros: 1000 + rand.Int64N(100_000), Mbps: 100, SentBytes: rand.Uint64N(1 << 40)}
	}
	unknown, err := v.tpd.Heartbeat(ctx, v.self, stats)
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("services: %d of %d transports are not known any more", len(unknown), len(stats))
	}
	return err
}

// paths asks for two ways to a random visor, and looks whether they lead there.
func (v *simVisor) paths(ctx context.Context) error {
	to := v.crowd.visors[rand.N(len(v.crowd.visors))]
	if to == v {
		return nil
	}
	begin := time.Now()
	paths, err := v.rf.Paths(ctx, graph.Query{From: v.pk, To: to.pk, MaxHops: 8, K: 2})
	took := float64(time.Since(begin).Nanoseconds()) / 1e6
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
	duties := []struct {
		every time.Duration
		do    func(context.Context) error
		next  time.Time
	}{
		{every: simHeartbeat, do: v.heartbeat}, {every: simBind, do: v.bind}, {every: simOffer, do: v.offer},
		{every: simUptime, do: v.uptime}, {every: simPaths, do: v.paths},
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
		if err := due.do(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		due.next = due.next.Add(due.every)
	}
}

// servicesAsk is all visors: it starts them, lets them live, and looks at the deployment.
func servicesAsk(ctx context.Context, cfg servicesConfig, ready func()) (t servicesTotals, err error) {
	c, err := newCrowd(cfg.Conf, cfg.Visors)
	if err != nil {
		return t, err
	}
	defer c.http.CloseIdleConnections()
	defer func() { err = errors.Join(err, c.close()) }()
	ready()
	dir, err := disc.New(cfg.Conf.DmsgDiscovery, disc.HTTPOptions{Transport: c})
	if err != nil {
		return t, err
	}
	defer dir.Close()
	begin := time.Now()
	var starting errgroup.Group
	starting.SetLimit(simAtOnce)
	for _, v := range c.visors {
		starting.Go(func() error { return v.start(ctx, dir) })
	}
	if err := starting.Wait(); err != nil {
		return t, err
	}
	t.BootSeconds = time.Since(begin).Seconds()
	if err := c.listed(ctx); err != nil {
		return t, err
	}

	lives, lctx := errgroup.WithContext(ctx)
	lctx, stop := context.WithCancel(lctx)
	for _, v := range c.visors {
		lives.Go(func() error { return v.live(lctx) })
	}
	defer func() { stop(); err = errors.Join(err, lives.Wait()) }()
	for range cfg.Windows {
		w, err := c.look(lctx, cfg)
		if err != nil {
			return t, err
		}
		t.Windows = append(t.Windows, w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Asked = len(c.times); t.Asked == 0 {
		return t, errors.New("services: nobody asked the route finder: more seconds, or more visors")
	}
	at := percentiles(c.times, 50, 99)
	t.P50, t.P99 = at[0], at[1]
	return t, nil
}

// listed makes sure that the transport discovery lists all transports.
func (c *crowd) listed(ctx context.Context) error {
	all, _, err := c.visors[0].tpd.All(ctx, "")
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if want := len(c.visors) * servicesDegree; len(all) != want {
		return fmt.Errorf("services: of %d transports %d are listed", want, len(all))
	}
	return nil
}

// look measures one window.
func (c *crowd) look(ctx context.Context, cfg servicesConfig) (w servicesWindow, err error) {
	before, err := cpuOf(cfg.PID)
	if err != nil {
		return w, err
	}
	asked, begin := c.requests.Load(), time.Now()
	select {
	case <-ctx.Done():
		return w, context.Cause(ctx)
	case <-time.After(time.Duration(cfg.Seconds * float64(time.Second))):
	}
	after, err := cpuOf(cfg.PID)
	if err != nil {
		return w, err
	}
	w.Cores = (after - before) / time.Since(begin).Seconds()
	w.Requests = int(c.requests.Load() - asked)
	r, err := residentBytes(cfg.PID)
	w.Resident = r.all
	return w, err
}

// close ends all dmsg sessions.
func (c *crowd) close() error {
	var g errgroup.Group
	g.SetLimit(simAtOnce)
	for _, v := range c.visors {
		if v.dmsg != nil {
			g.Go(v.dmsg.Close)
		}
	}
	return g.Wait()
}
