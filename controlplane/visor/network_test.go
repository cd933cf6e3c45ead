package visor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A lines collects what a program prints.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var atURL = regexp.MustCompile(`HTTP +(http://[0-9.:]+)`)

// startDeployment runs a whole deployment on loopback until the test ends, and returns
// what it says about itself.
func startDeployment(t *testing.T, name string) deployment.Conf {
	t.Helper()
	c, _ := startMortal(t, name)
	return c
}

// startMortal is startDeployment for one that can be stopped before.
func startMortal(t *testing.T, name string) (c deployment.Conf, stop func()) {
	t.Helper()
	var out, log lines
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- services.NewCommand(&out, &log, "test", false).Main(ctx, []string{
			"all", "--dir", t.TempDir(), "--name", name, "--addr", "127.0.0.1:0", "--stun-addr", "", "--relay-addr", "127.0.0.1:0",
			"--public-host", "127.0.0.1", "--no-limits",
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("deployment ended with %d:\n%s", code, log.String())
		}
	})
	t.Cleanup(stop)
	eventually(t, "the deployment is up", func() bool {
		m := atURL.FindStringSubmatch(out.String())
		if m == nil {
			return false
		}
		rt := &http.Transport{DisableKeepAlives: true}
		var err error
		c, err = deployment.FetchConf(t.Context(), m[1], rt, cipher.PubKey{})
		return err == nil
	})
	return c, stop
}

// in is a configuration in these deployments, without automatic transports.
func in(ds ...deployment.Conf) func(*config.Config) {
	return func(c *config.Config) {
		c.Deployments = ds
		c.Transport.Auto = false
	}
}

// online waits until the visor can be found in all its deployments.
func (r *real) online(t *testing.T) {
	t.Helper()
	eventually(t, "the visor is online", func() bool {
		s, err := r.Status(t.Context())
		return err == nil && len(s.Deployments) > 0 && !slices.ContainsFunc(s.Deployments, func(m api.Membership) bool { return !m.Dmsg.Reachable })
	})
}

// transport makes a transport and waits until it is registered everywhere.
func (r *real) transport(t *testing.T, to *real) {
	t.Helper()
	if _, err := r.AddTransport(t.Context(), api.TransportSpec{PK: to.pk}, false); err != nil && !errors.Is(err, api.ErrExists) {
		t.Fatal(err)
	}
	eventually(t, "the transport is registered", func() bool {
		all, err := r.Transports(t.Context())
		return err == nil && slices.ContainsFunc(all, func(x api.Transport) bool {
			return x.PK == to.pk && x.State == api.LinkUp && len(x.Registered) == len(r.cfg.Deployments)
		})
	})
}

// TestByKeyAlone: visors that know nothing but a deployment reach each other by key,
// directly and over several hops, and the source sees each hop of its route.
func TestByKeyAlone(t *testing.T) {
	d := startDeployment(t, "lab")
	a, b, c := startReal(t, in(d)), startReal(t, in(d)), startReal(t, in(d))
	for _, v := range []*real{a, b, c} {
		v.online(t)
	}
	a.transport(t, b)
	b.transport(t, c)
	if _, err := a.Ping(t.Context(), b.pk); err != nil {
		t.Errorf("ping over a transport: %v", err)
	}
	var paths []api.Path
	eventually(t, "a route over two hops", func() bool {
		var err error
		paths, err = a.Connect(t.Context(), api.ConnectSpec{PK: c.pk, Policy: api.RoutePolicy{MinHops: 2}})
		return err == nil && len(paths) > 0
	})
	if hops := paths[0].Hops; len(hops) != 2 || hops[0].To != b.pk || hops[1].To != c.pk {
		t.Errorf("the route is %+v, want %s – %s – %s", hops, a.pk.Short(), b.pk.Short(), c.pk.Short())
	}
	trace, err := a.Trace(t.Context(), api.ConnectSpec{PK: c.pk, Policy: api.RoutePolicy{MinHops: 2}})
	if err != nil || len(trace) != 2 || trace[0].PK != b.pk || trace[1].PK != c.pk || trace[0].RTTMicros == 0 || trace[1].RTTMicros == 0 || trace[0].Type == "" {
		t.Errorf("trace: %+v, %v", trace, err)
	}
	for _, finder := range []string{api.FinderService, api.FinderLocal} {
		found, err := a.Find(t.Context(), api.FindSpec{PK: c.pk, Policy: api.RoutePolicy{MinHops: 2}, Finder: finder})
		if err != nil || len(found) == 0 || len(found[0].Hops) != 2 {
			t.Errorf("paths by %s: %+v, %v", finder, found, err)
		}
	}
	if err := a.Disconnect(t.Context(), c.pk); err != nil {
		t.Error(err)
	}
	if active, err := a.Active(t.Context()); err != nil || len(active) != 0 {
		t.Errorf("after rm there are routes: %+v, %v", active, err)
	}

	// What the services know is what there is.
	healths, err := a.Health(t.Context())
	if err != nil || len(healths) != 6 {
		t.Errorf("%d services, %v", len(healths), err)
	}
	for _, h := range healths {
		if !h.OK || h.Version != "test" || h.RTTMicros == 0 {
			t.Errorf("%+v", h)
		}
	}
	listed, err := c.Registered(t.Context(), api.ServiceQuery{PK: b.pk})
	neighbours := map[cipher.PubKey]bool{}
	for _, l := range listed { // two visors may win both ways to each other at once
		neighbours[l.Edges[0]], neighbours[l.Edges[1]] = true, true
	}
	if err != nil || len(neighbours) != 3 || !neighbours[a.pk] || !neighbours[c.pk] {
		t.Errorf("of b are registered: %+v, %v", listed, err)
	}
	if at, err := b.Addresses(t.Context(), api.ServiceQuery{PK: a.pk, Deployment: "lab"}); err != nil || len(at) != 1 || at[0].Remote != a.addr(t, api.STCPR) {
		t.Errorf("the address resolver says %+v, %v; want %s", at, err, a.addr(t, api.STCPR))
	}
	eventually(t, "the uptime tracker knows all", func() bool {
		up, err := a.Uptimes(t.Context(), api.ServiceQuery{})
		return err == nil && len(up) == 3 && up[0].Online && up[1].Online && up[2].Online
	})
	if _, err := a.Offers(t.Context(), api.OfferQuery{Type: "visor", Deployment: "none"}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("a deployment that it is not in: %v", err)
	}

	r, err := a.Doctor(t.Context())
	if err != nil || r.Failed() {
		t.Errorf("the doctor says %+v, %v", r, err)
	}
}

// echo runs a service that says what it hears, until the test ends.
func echo(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// echoes says whether an echo is behind addr.
func echoes(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return false
	}
	b := make([]byte, 5)
	_, err = io.ReadFull(conn, b)
	return err == nil && string(b) == "hello"
}

// TestForwardOverHops: a forward says over how many hops it goes.
func TestForwardOverHops(t *testing.T) {
	d := startDeployment(t, "lab")
	a, b, c := startReal(t, in(d)), startReal(t, in(d)), startReal(t, in(d))
	for _, v := range []*real{a, b, c} {
		v.online(t)
	}
	a.transport(t, b)
	b.transport(t, c)
	if _, err := c.AddForward(t.Context(), api.ForwardSpec{Expose: echo(t), Port: 80, Public: true}, false); err != nil {
		t.Fatal(err)
	}
	spec := api.ForwardSpec{Reach: api.Peer(c.pk, 80), Local: freeAddr(t), Route: &api.RoutePolicy{MinHops: 2}}
	if _, err := a.AddForward(t.Context(), spec, false); err != nil {
		t.Fatal(err)
	}
	if fs, err := a.Forwards(t.Context()); err != nil || len(fs) != 1 || fs[0].Reach != spec.Reach || fs[0].Route == nil || fs[0].Route.MinHops != 2 {
		t.Errorf("listed as %+v, %v", fs, err)
	}
	eventually(t, "an echo over two hops", func() bool { return echoes(spec.Local) })
	if direct, err := a.Transports(t.Context()); err != nil || slices.ContainsFunc(direct, func(x api.Transport) bool { return x.PK == c.pk }) {
		t.Errorf("there is a transport to c: %+v, %v", direct, err)
	}
}

// TestServicesOverDmsg: a deployment whose services are reached by way of its relay alone.
func TestServicesOverDmsg(t *testing.T) {
	d := startDeployment(t, "lab")
	for _, url := range []*string{&d.DmsgDiscovery, &d.TransportDiscovery, &d.AddressResolver, &d.RouteFinder, &d.ServiceDiscovery, &d.UptimeTracker} {
		*url = fmt.Sprintf("dmsg://%s:80%s", d.ID, (*url)[strings.LastIndex(*url, "/"):])
	}
	a, b := startReal(t, in(d)), startReal(t, in(d))
	a.online(t)
	b.online(t)
	a.transport(t, b)
	healths, err := a.Health(t.Context())
	if err != nil || len(healths) != 6 || slices.ContainsFunc(healths, func(h api.ServiceHealth) bool { return !h.OK }) {
		t.Errorf("%+v, %v", healths, err)
	}
}

// TestShy: a visor that accepts a few keys tells the address resolver nothing, and takes
// back what it has told.
func TestShy(t *testing.T) {
	d := startDeployment(t, "lab")
	friend, _ := cipher.GenerateKeyPair()
	dir, ask := t.TempDir(), startReal(t, in(d))
	a := startIn(t, dir, in(d))
	resolves := func() string {
		at, err := ask.Addresses(t.Context(), api.ServiceQuery{PK: a.pk})
		if err != nil || len(at) != 1 {
			t.Fatalf("%+v, %v", at, err)
		}
		return at[0].Remote
	}
	eventually(t, "the address is told", func() bool { return resolves() == a.addr(t, api.STCPR) })
	c := a.cfg
	c.Transport.Accept, c.Transport.Allow = config.AcceptList, []cipher.PubKey{friend}
	if err := config.Save(filepath.Join(dir, config.FileName), c); err != nil {
		t.Fatal(err)
	}
	r, err := a.Reload(t.Context())
	if err != nil || !slices.Equal(r.Applied, []string{"transport.accept", "transport.allow"}) || len(r.Restart)+len(r.Failed) != 0 {
		t.Errorf("reload: %+v, %v", r, err)
	}
	eventually(t, "the address is taken back", func() bool { return resolves() == "" })
}

// TestTwoDeployments: nothing of one deployment is told to the other.
func TestTwoDeployments(t *testing.T) {
	one, two := startDeployment(t, "one"), startDeployment(t, "two")
	both := startReal(t, in(one, two))
	first, second := startReal(t, in(one)), startReal(t, in(two))
	for _, v := range []*real{both, first, second} {
		v.online(t)
	}
	both.AddTransport(t.Context(), api.TransportSpec{PK: first.pk}, false)
	both.AddTransport(t.Context(), api.TransportSpec{PK: second.pk}, false)
	registered := func(v *real, d string) []api.RegisteredTransport {
		all, err := v.Registered(t.Context(), api.ServiceQuery{Deployment: d})
		if err != nil {
			t.Error(err)
		}
		return all
	}
	eventually(t, "both transports are registered", func() bool {
		return len(registered(both, "one")) > 0 && len(registered(both, "two")) > 0
	})
	for d, stranger := range map[string]cipher.PubKey{"one": second.pk, "two": first.pk} {
		for _, x := range registered(both, d) {
			if slices.Contains(x.Edges, stranger) {
				t.Errorf("deployment %s lists a transport of a visor of the other one: %+v", d, x)
			}
		}
	}
	// Routes do not cross from one into the other.
	if paths, err := first.Connect(t.Context(), api.ConnectSpec{PK: second.pk, Policy: api.RoutePolicy{MinHops: 2}}); err == nil {
		t.Errorf("a route out of the deployment: %+v", paths)
	}
	s, err := both.Status(t.Context())
	if err != nil || len(s.Deployments) != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	for i, d := range []deployment.Conf{one, two} {
		relays := s.Deployments[i].Dmsg.Relays
		if len(relays) != 1 || !strings.HasPrefix(d.DmsgServers[0], relays[0].PK.String()+"@") {
			t.Errorf("in %s the relays are %+v, want %s", d.Name, relays, d.DmsgServers)
		}
	}
}

// TestRemote: an operator commands another visor that lists his, and no other.
func TestRemote(t *testing.T) {
	r := newTestRelay(t)
	operator := startReal(t, r.pinned)
	far := startReal(t, func(c *config.Config) {
		r.pinned(c)
		c.Management.Allow = []cipher.PubKey{operator.pk}
	})
	stranger := startReal(t, r.pinned)
	remote := operator.For(far.pk)
	var s api.Status
	eventually(t, "the far visor answers", func() bool {
		var err error
		s, err = remote.Status(t.Context())
		return err == nil
	})
	if s.PK != far.pk {
		t.Errorf("the answer is of %s, want %s", s.PK, far.pk)
	}
	if err := remote.SetLogLevel(t.Context(), "debug"); !errors.Is(err, api.ErrBadRequest) { // its log is nobody's
		t.Errorf("an error of the far visor came as %v", err)
	}
	eventually(t, "a stranger is refused", func() bool {
		_, err := stranger.For(far.pk).Status(t.Context())
		return errors.Is(err, api.ErrDenied) && strings.Contains(err.Error(), "management.allow")
	})
	if _, err := operator.For(operator.pk).Status(t.Context()); !errors.Is(err, api.ErrBadRequest) {
		t.Errorf("to oneself: %v", err)
	}
	nobody, _ := cipher.GenerateKeyPair()
	if _, err := operator.For(nobody).Status(t.Context()); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("to nobody: %v", err)
	}
}

// ownServer returns a relay that a visor can run, and what has it do so.
func ownServer(t *testing.T) (config.Server, *config.DmsgServer) {
	t.Helper()
	at := freeAddr(t)
	pk, sk := cipher.GenerateKeyPair()
	key := filepath.Join(t.TempDir(), config.RelayKeyFileName)
	if err := cipher.SaveSecKey(key, sk); err != nil {
		t.Fatal(err)
	}
	return config.Server{PK: pk, Addr: at}, &config.DmsgServer{Listen: at, PublicAddress: at, SecretKeyFile: key}
}

// TestLivesOn: once visors know each other, a network with a relay and a setup node
// inside one of them does without the deployment: new transports and new routes are
// made when it is gone.
func TestLivesOn(t *testing.T) {
	d, stop := startMortal(t, "lab")
	own, server := ownServer(t)
	d.DmsgServers = append(d.DmsgServers, own.String())
	a := startReal(t, func(c *config.Config) {
		in(d)(c)
		c.DmsgServer, c.SetupNode = server, true
	})
	member := func(c *config.Config) {
		in(d)(c)
		c.Routing.SetupNodes, c.Routing.PathFinder = []cipher.PubKey{a.pk}, api.FinderLocal
	}
	b, c := startReal(t, member), startReal(t, member)
	relays := func(v *real, n int) bool {
		s, err := v.Status(t.Context())
		return err == nil && len(s.Deployments[0].Dmsg.Relays) == n
	}
	for _, v := range []*real{a, b, c} {
		v.online(t)
		eventually(t, "both relays are connected", func() bool { return relays(v, 2) })
	}
	if s, err := a.Status(t.Context()); err != nil || !s.SetupNode || s.Relay == nil {
		t.Errorf("status: %+v, %v", s, err)
	}
	b.transport(t, a)
	c.transport(t, a)
	hops := api.RoutePolicy{MinHops: 2}
	eventually(t, "b knows the way", func() bool {
		paths, err := b.Find(t.Context(), api.FindSpec{PK: c.pk, Policy: hops})
		return err == nil && len(paths) > 0
	})
	stop()
	for _, v := range []*real{a, b, c} {
		eventually(t, "only the relay inside a is left", func() bool { return relays(v, 1) })
	}
	eventually(t, "a route is set up", func() bool {
		paths, err := b.Connect(t.Context(), api.ConnectSpec{PK: c.pk, Policy: hops})
		return err == nil && len(paths) == 1 && len(paths[0].Hops) == 2
	})
	eventually(t, "a transport is made", func() bool {
		_, err := b.AddTransport(t.Context(), api.TransportSpec{PK: c.pk}, false)
		return err == nil
	})
	if _, err := b.Ping(t.Context(), c.pk); err != nil {
		t.Error(err)
	}
}

// TestOwnRelay: visors whose only relay is inside one of them find each other, and there
// is a key of its own for it.
func TestOwnRelay(t *testing.T) {
	own, server := ownServer(t)
	pk, at := own.PK, own.Addr
	pinned := func(c *config.Config) {
		c.Dmsg = &config.Dmsg{Servers: []config.Server{own}}
	}
	a := startReal(t, func(c *config.Config) {
		pinned(c)
		c.DmsgServer = server
	})
	b := startReal(t, pinned)
	if err := b.AddLink(t.Context(), api.LinkSpec{PK: a.pk, Type: api.DMSG}, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link comes up", func() bool {
		ls, err := b.Links(t.Context())
		return err == nil && len(ls) == 1 && ls[0].State == api.LinkUp
	})
	s, err := a.Status(t.Context())
	if err != nil || s.Relay == nil || s.Relay.PK != pk || s.Relay.PublicAddress != at || s.Relay.Sessions != 2 || s.Relay.Streams == 0 {
		t.Errorf("status: %+v, %v", s.Relay, err)
	}
	rep, err := a.Doctor(t.Context())
	if err != nil || !slices.ContainsFunc(rep.Checks, func(c api.Check) bool { return c.Name == "own relay" && c.Verdict == api.CheckOK }) {
		t.Errorf("doctor: %+v, %v", rep, err)
	}
}

// TestNoNetwork: what needs a deployment says so.
func TestNoNetwork(t *testing.T) {
	r := startReal(t, nil)
	pk, _ := cipher.GenerateKeyPair()
	_, errs := r.Transports(t.Context())
	_, errf := r.Find(t.Context(), api.FindSpec{PK: pk})
	_, errh := r.Health(t.Context())
	_, errp := r.For(pk).Status(t.Context())
	for _, err := range []error{errs, errf, errh, errp} {
		if !errors.Is(err, api.ErrNoNetwork) {
			t.Errorf("got %v, want what to do to join a deployment", err)
		}
	}
	rep, err := r.Doctor(t.Context())
	if err != nil || rep.Failed() || len(rep.Checks) == 0 {
		t.Errorf("doctor: %+v, %v", rep, err)
	}
}

// TestMetrics: what is served is in the text format, and true.
func TestMetrics(t *testing.T) {
	at := freeAddr(t)
	r := newTestRelay(t)
	startReal(t, func(c *config.Config) { r.pinned(c); c.Metrics.Addr = at })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	eventually(t, "the relay is counted", func() bool {
		rs, err := client.Get(fmt.Sprintf("http://%s/metrics", at))
		if err != nil {
			return false
		}
		defer rs.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(rs.Body)
		return strings.Contains(b.String(), "skywire_dmsg_relays{network=\"the section dmsg\"} 1\n") && strings.Contains(b.String(), "skywire_heap_bytes ")
	})
}
