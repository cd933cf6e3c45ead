package services

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/stunclient"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A visor is as much of one as the services see.
type visor struct {
	servicetest.Caller
	in   deployment.Instance
	dmsg *dmsg.Client // nil: it has none
}

// anywhere are flags for free ports.
func anywhere() []string {
	return []string{"--stun-addr", "127.0.0.1:0", "--relay-addr", "127.0.0.1:0"}
}

// startAll runs skysvc all in dir on loopback and returns its URL and what ends it.
func startAll(t *testing.T, dir string, more ...string) (url string, stop func()) {
	t.Helper()
	args := append([]string{"all", "--dir", dir, "--addr", "127.0.0.1:0"}, more...)
	var log logLines
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- NewCommand(&log, &log, "v0", false).Main(ctx, args) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if code := <-done; code != cli.ExitOK {
			t.Errorf("skysvc %v: exit code %d, log %s", args, code, log.lines)
		}
	}
	t.Cleanup(stop)
	return "http://" + log.field(t, "deployment is up", "addr"), stop
}

// connect gives v a dmsg client by the relays of c, and callers of dmsg URLs.
func (v *visor) connect(t *testing.T, c deployment.Conf) {
	t.Helper()
	var relays []*disc.Entry
	for _, text := range c.DmsgServers {
		pk, addr, err := deployment.ParseDmsgServer(text)
		if err != nil {
			t.Fatal(err)
		}
		relays = append(relays, disc.NewServer(pk, addr, 1, time.Unix(0, 0)))
	}
	static := disc.NewStatic(relays...)
	var pks []cipher.PubKey
	for _, e := range relays {
		pks = append(pks, e.Static)
	}
	static.Add(disc.NewClient(c.ID, "", pks, time.Unix(0, 0)))
	client, dial := onDmsg(t, v.SK, static)
	rt := deployment.NewRoundTripper(dial)
	t.Cleanup(rt.CloseIdleConnections)
	v.dmsg, v.Caller.Caller = client, deployment.NewCaller(v.SK, rt, zerolog.Nop())
}

// onDmsg runs a dmsg client until the test ends; it has a relay when it is returned.
func onDmsg(t *testing.T, sk cipher.SecKey, d disc.Directory) (*dmsg.Client, dmsghttp.DialFunc) {
	t.Helper()
	dc := dmsg.DefaultConfig()
	dc.SecKey, dc.Directory, dc.MinSessions = sk, d, 1
	client, err := dmsg.New(dc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-client.Ready()
	return client, func(ctx context.Context, to proto.Addr) (net.Conn, error) { return client.Dial(ctx, to) }
}

func newVisor(t *testing.T) *visor {
	return &visor{Caller: servicetest.NewCaller(t), in: deployment.NewInstance(time.Now())}
}

func roundTripper(t *testing.T) http.RoundTripper {
	rt := deployment.NewRoundTripper(nil)
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

// Every service works over HTTP and over dmsg, and what is said over one is heard over
// the other.
func TestAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "skysvc")
	url, stop := startAll(t, dir, append(anywhere(), "--name", "test")...)
	ctx := t.Context()
	c, err := deployment.FetchConf(ctx, url, roundTripper(t), cipher.PubKey{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "test" || len(c.DmsgServers) != 1 || len(c.STUNServers) != 1 || len(c.SetupNodes) != 1 {
		t.Fatalf("%+v", c)
	}
	alice, bob := newVisor(t), newVisor(t)
	bob.connect(t, c)
	rt := deployment.NewRoundTripper(func(ctx context.Context, to proto.Addr) (net.Conn, error) { return bob.dmsg.Dial(ctx, to) })
	t.Cleanup(rt.CloseIdleConnections)
	var over deployment.Conf
	servicetest.Eventually(t, "the services are on dmsg", func() bool {
		over, err = deployment.FetchConf(ctx, "dmsg://"+c.ID.String()+":80", rt, c.ID)
		return err == nil
	})
	if want := "dmsg://" + c.ID.String() + ":80/tpd"; over.TransportDiscovery != want {
		t.Errorf("over dmsg the transport discovery is at %s, want %s", over.TransportDiscovery, want)
	}

	t.Run("transports", func(t *testing.T) {
		e := deployment.SignedTransport{Transport: deployment.NewTransport(alice.PK, bob.PK, deployment.TypeSTCPR, deployment.LabelUser)}
		for i, pk := range e.Edges {
			sk := alice.SK
			if pk == bob.PK {
				sk = bob.SK
			}
			if e.Signatures[i], err = cipher.Sign(sk, e.SignedBytes()); err != nil {
				t.Fatal(err)
			}
		}
		one := deployment.NewTransportDiscovery(c.TransportDiscovery, alice.Caller.Caller)
		two := deployment.NewTransportDiscovery(over.TransportDiscovery, bob.Caller.Caller)
		if _, err := one.Register(ctx, alice.in, []deployment.SignedTransport{e}); err != nil {
			t.Error(err)
		}
		if reply, err := two.Register(ctx, bob.in, []deployment.SignedTransport{e}); err != nil || len(reply.Listed) != 1 {
			t.Errorf("%+v, %v", reply, err)
		}
		rf := deployment.NewRouteFinder(over.RouteFinder, bob.Caller.Caller)
		servicetest.Eventually(t, "a path over it", func() bool {
			paths, err := rf.Paths(ctx, graph.Query{From: alice.PK, To: bob.PK, MinHops: 1, MaxHops: 3, K: 1})
			return err == nil && len(paths) == 1 && len(paths[0].Hops) == 1
		})
		if list, err := one.Edge(ctx, bob.PK); err != nil || len(list) != 1 || list[0].ID != e.ID {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("addresses", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		one := deployment.NewAddressResolver(c.AddressResolver, alice.Caller.Caller)
		two := deployment.NewAddressResolver(over.AddressResolver, bob.Caller.Caller)
		if bound, err := one.Bind(ctx, alice.in, deployment.Bind{Port: port}); err != nil || !bound.Reachable || bound.RemoteAddr.Port() != port {
			t.Errorf("%+v, %v", bound, err)
		}
		if rec, err := two.Resolve(ctx, alice.PK); err != nil || rec.RemoteAddr.Port() != port {
			t.Errorf("%+v, %v", rec, err)
		}
		if _, err := two.Bind(ctx, bob.in, deployment.Bind{Port: port}); !errors.Is(err, deployment.ErrBadRequest) || !strings.Contains(err.Error(), "over dmsg your address is not seen") {
			t.Errorf("%v", err)
		}
	})
	t.Run("services", func(t *testing.T) {
		one := deployment.NewServiceDiscovery(c.ServiceDiscovery, alice.Caller.Caller)
		two := deployment.NewServiceDiscovery(over.ServiceDiscovery, bob.Caller.Caller)
		sv := deployment.Service{Address: deployment.ServiceAddr{PK: bob.PK, Port: 3}, Type: "skysocks", Version: "v1"}
		if _, err := two.Register(ctx, sv); err != nil {
			t.Error(err)
		}
		if list, err := one.Services(ctx, deployment.Filter{Type: "skysocks"}); err != nil || len(list) != 1 || list[0].Address != sv.Address {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("uptime", func(t *testing.T) {
		if err := deployment.NewUptimeTracker(c.UptimeTracker, alice.Caller.Caller).Update(ctx, alice.in, "v1"); err != nil {
			t.Error(err)
		}
		if err := deployment.NewUptimeTracker(over.UptimeTracker, bob.Caller.Caller).Update(ctx, bob.in, "v1"); err != nil {
			t.Error(err)
		}
		if list, err := deployment.NewUptimeTracker(over.UptimeTracker, bob.Caller.Caller).Uptimes(ctx, deployment.UptimeQuery{Status: "on"}); err != nil || len(list) != 2 {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("dmsg discovery", func(t *testing.T) {
		d, err := disc.New(c.DmsgDiscovery, disc.HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		servicetest.Eventually(t, "the relay is listed", func() bool {
			list, err := d.AllServers(ctx)
			return err == nil && len(list) == 1
		})
		servicetest.Eventually(t, "the services' own entry", func() bool {
			e, err := d.Entry(ctx, c.ID)
			return err == nil && e.Client != nil && len(e.Client.DelegatedServers) == 1
		})
	})
	t.Run("STUN", func(t *testing.T) {
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		res, err := stunclient.Discover(ctx, pc, c.STUNServers, stunclient.Options{})
		if err != nil || res.V4 == nil || res.V4.Mapped.String() != pc.LocalAddr().String() || res.V4.Mapping != stunclient.None {
			t.Errorf("%+v, %v", res.V4, err)
		}
	})
	t.Run("setup node", func(t *testing.T) {
		conn, err := bob.dmsg.Dial(ctx, proto.Addr{PK: c.SetupNodes[0], Port: 36})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
	t.Run("health and metrics", func(t *testing.T) {
		for path, want := range map[string]string{
			"/health": `"dmsg_servers":["`, "/ar/health": `"version":"v0"`,
			"/metrics":    `skywire_requests_total{service="tpd",code="200"}`,
			"/ut/metrics": "skywire_ut_visors 2",
		} {
			resp, err := roundTripper(t).RoundTrip(must(http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)))
			if err != nil {
				t.Error(err)
				continue
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !strings.Contains(string(b), want) {
				t.Errorf("%s: %s, %v; want %s in it", path, b, err, want)
			}
		}
	})

	// A second start has the same key and what the first one knew.
	for _, name := range []string{"deployment.key", "relay.key", "skysvc.db"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	stop()
	url, _ = startAll(t, dir, "--relay-addr=", "--stun-addr=", "--no-setup-node")
	again, err := deployment.FetchConf(ctx, url, roundTripper(t), c.ID)
	if err != nil || len(again.DmsgServers)+len(again.STUNServers)+len(again.SetupNodes) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	list, err := deployment.NewUptimeTracker(again.UptimeTracker, alice.Caller.Caller).Uptimes(ctx, deployment.UptimeQuery{})
	if err != nil || len(list) != 2 {
		t.Errorf("after a restart: %+v, %v", list, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
