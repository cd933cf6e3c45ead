//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestLyingDiscovery: a's transport discovery lists a fast transport from b to d, well
// signed, that does not exist. a tries it, learns, and goes by c.
//
//	a ── b ╌╌ d
//	└─── c ───┘
func TestLyingDiscovery(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	dep := w.deploy("services")
	liar := w.host("liar", topo.NoNAT)
	l := &lies{real: dep}
	url := w.serveHTTP(liar, l)
	a := w.join("a", topo.NoNAT, func(c *config.Config) {
		c.Deployments[0].TransportDiscovery = url
		c.Routing.PathFinder = api.FinderLocal
	}, dep)
	b, c, d := w.join("b", topo.NoNAT, nil, dep), w.join("c", topo.NoNAT, nil, dep), w.join("d", topo.NoNAT, nil, dep)
	w.online(a, b, c, d)
	c.meet(api.SUDPH, d)
	for _, n := range []*node{b, c} {
		if _, err := a.AddTransport(w.ctx, api.TransportSpec{PK: n.PK, Type: api.SUDPH}, false); err != nil {
			t.Fatal(err)
		}
		l.add(w.entry(a, n, 5000))
	}
	l.add(w.entry(b, d, 10))
	w.eventually(20*time.Second, "a does not believe the lie", func() bool {
		paths, err := a.Find(w.ctx, api.FindSpec{PK: d.PK, Policy: overHops(2)})
		return err == nil && slices.ContainsFunc(paths, func(p api.Path) bool { return hops(p, a, b, c, d) == "b d" })
	})
	start := time.Now()
	paths := a.mustConnect(d, overHops(2))
	took := time.Since(start)
	t.Logf("a route by c after %v", took.Round(time.Millisecond))
	if took > 11*time.Second || len(paths) == 0 || hops(paths[0], a, b, c, d) != "c d" {
		t.Errorf("paths %+v after %v, want c d", paths, took)
	}
	d.expose(d.serve(), 80, "--allow", a.PK.String())
	if err := <-a.send(a.reach(d, 80, "--min-hops", "2"), 4<<20).done; err != nil {
		t.Error(err)
	}
}

// lies is a transport discovery that lists what it is told to, beside what a real one
// lists. It takes no registrations.
type lies struct {
	real *cluster.Deployment

	mu      sync.Mutex
	entries []deployment.SignedTransport
}

func (l *lies) add(e deployment.SignedTransport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

func (l *lies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, `{"error":"not today","code":"unavailable"}`, http.StatusServiceUnavailable)
		return
	}
	client := l.real.Place.HTTP()
	defer client.CloseIdleConnections()
	answer, err := client.Get(l.real.Conf.TransportDiscovery + r.URL.RequestURI())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	var list []deployment.SignedTransport
	if err := json.NewDecoder(answer.Body).Decode(&list); err != nil {
		list = nil // a refusal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append(list, l.entries...))
}

// entry returns a transport between two visors as both would have signed it.
func (w *world) entry(a, b *node, rttMicros int64) deployment.SignedTransport {
	w.t.Helper()
	s := deployment.SignedTransport{
		Transport:  deployment.NewTransport(a.PK, b.PK, deployment.TypeSUDPH, deployment.LabelUser),
		Registered: time.Now().Unix(),
	}
	s.Stats = &deployment.TransportStats{ID: s.ID, RTTMicros: rttMicros, Mbps: 1000}
	for i, pk := range s.Edges {
		n := a
		if pk == b.PK {
			n = b
		}
		sk, err := cipher.LoadSecKey(filepath.Join(n.Dir, config.KeyFileName))
		if err == nil {
			s.Signatures[i], err = cipher.Sign(sk, s.SignedBytes())
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// serveHTTP serves h at a host until the test ends, and returns its URL.
func (w *world) serveHTTP(at *topo.Host, h http.Handler) string {
	w.t.Helper()
	l, err := at.Listen(net.JoinHostPort(at.Addr.IPv4.Addr().String(), "80"))
	if err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	w.t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// TestBadSetupNodes: of three setup nodes that a trusts, one never answers, and one says
// that it has made a route and has made none. a gets its route all the same.
//
//	a ── b ── c
func TestBadSetupNodes(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	dep := w.deploy("services")
	silent := w.setupNode("silent", dep, func(_ http.ResponseWriter, r *http.Request) { <-w.ctx.Done() })
	half := w.setupNode("half", dep, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"out_label":4711}`))
	})
	for _, tt := range []struct {
		name string
		bad  cipher.PubKey
	}{{"silent", silent}, {"half", half}} {
		a := w.join("a"+tt.name, topo.NoNAT, func(c *config.Config) {
			c.Deployments[0].SetupNodes = append([]cipher.PubKey{tt.bad}, c.Deployments[0].SetupNodes...)
		}, dep)
		b, c := w.join("b"+tt.name, topo.NoNAT, nil, dep), w.join("c"+tt.name, topo.NoNAT, nil, dep)
		w.online(a, b, c)
		b.meet(api.SUDPH, a, c)
		start := time.Now()
		a.mustConnect(c, overHops(2))
		took := time.Since(start)
		t.Logf("a setup node that is %s: a route after %v", tt.name, took.Round(time.Millisecond))
		if took > 11*time.Second {
			t.Errorf("it took %v, want at most 10 s", took)
		}
		c.expose(c.serve(), 80, "--allow", a.PK.String())
		if err := <-a.send(a.reach(c, 80, "--min-hops", "2"), 4<<20).done; err != nil {
			t.Errorf("a setup node that is %s: %v", tt.name, err)
		}
	}
}

// setupNode runs a setup node of its own kind: answer gets all requests.
func (w *world) setupNode(name string, dep *cluster.Deployment, answer http.HandlerFunc) cipher.PubKey {
	w.t.Helper()
	h := w.host(name, topo.NoNAT)
	place := cluster.At(h, name)
	client := place.HTTP()
	w.t.Cleanup(client.CloseIdleConnections)
	dir, err := disc.New(dep.Conf.DmsgDiscovery, disc.HTTPOptions{Transport: client.Transport})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(dir.Close)
	cfg := dmsg.DefaultConfig()
	pk, sk := cipher.GenerateKeyPair()
	cfg.SecKey, cfg.Directory, cfg.MinSessions = sk, dir, 1
	cfg.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) { return place.Dial(addr) }
	d, err := dmsg.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	const setupPort = 36
	l, err := d.Listen(setupPort)
	if err != nil {
		w.t.Fatal(err)
	}
	s := dmsghttp.NewServer(answer)
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- d.Run(context.WithoutCancel(w.ctx)) }()
	go func() { served <- s.Serve(l) }()
	w.t.Cleanup(func() {
		_, _ = s.Close(), d.Close()
		<-ran
		<-served
	})
	select {
	case <-d.Ready():
	case <-time.After(10 * time.Second):
		w.t.Fatalf("setup node %s is not online", name)
	}
	return pk
}
