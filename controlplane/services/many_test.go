package services

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store/redistest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Services that run alone, several of each on one Redis, are one deployment: what one
// instance has taken the others give out.
func TestManyOnRedis(t *testing.T) {
	redis := redistest.Start(t).URL()
	alone := func(name string, more ...string) string {
		t.Helper()
		args := append([]string{name, "--addr", "127.0.0.1:0", "--store", redis}, more...)
		return "http://" + run(t, args...).field(t, "service is up", "addr")
	}
	url, _ := startAll(t, filepath.Join(t.TempDir(), "all"), append(anywhere(), "--store", redis)...)
	one, err := deployment.FetchConf(t.Context(), url, roundTripper(t), cipher.PubKey{})
	if err != nil {
		t.Fatal(err)
	}
	two := deployment.Conf{
		TransportDiscovery: alone("tpd"), RouteFinder: alone("rf"), AddressResolver: alone("ar", "--stun-addr", "127.0.0.1:0"),
		ServiceDiscovery: alone("sd"), UptimeTracker: alone("ut"),
		DmsgDiscovery: "http://" + run(t, "dmsgdisc", "--addr", "127.0.0.1:0", "--store", redis, "--test-mode").field(t, "discovery is up", "addr"),
	}
	alice, bob := newVisor(t), newVisor(t)
	ctx := t.Context()

	// The edges register at different instances.
	e := deployment.SignedTransport{Transport: deployment.NewTransport(alice.PK, bob.PK, deployment.TypeSUDPH, deployment.LabelUser)}
	for i, pk := range e.Edges {
		sk := alice.SK
		if pk == bob.PK {
			sk = bob.SK
		}
		if e.Signatures[i], err = cipher.Sign(sk, e.SignedBytes()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := deployment.NewTransportDiscovery(one.TransportDiscovery, alice.Caller.Caller).Register(ctx, alice.in, []deployment.SignedTransport{e}); err != nil {
		t.Error(err)
	}
	if _, err := deployment.NewTransportDiscovery(two.TransportDiscovery, bob.Caller.Caller).Register(ctx, bob.in, []deployment.SignedTransport{e}); err != nil {
		t.Error(err)
	}
	for _, url := range []string{one.RouteFinder, two.RouteFinder, alone("rf")} {
		rf := deployment.NewRouteFinder(url, alice.Caller.Caller)
		servicetest.Eventually(t, "a path at "+url, func() bool {
			paths, err := rf.Paths(ctx, graph.Query{From: alice.PK, To: bob.PK, MinHops: 1, MaxHops: 3, K: 1})
			return err == nil && len(paths) == 1
		})
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	if _, err := deployment.NewAddressResolver(one.AddressResolver, alice.Caller.Caller).Bind(ctx, alice.in, deployment.Bind{Port: port}); err != nil {
		t.Error(err)
	}
	ar := deployment.NewAddressResolver(two.AddressResolver, bob.Caller.Caller)
	servicetest.Eventually(t, "the address", func() bool { _, err := ar.Resolve(ctx, alice.PK); return err == nil })

	sv := deployment.Service{Address: deployment.ServiceAddr{PK: bob.PK, Port: 1}, Type: "visor"}
	if _, err := deployment.NewServiceDiscovery(two.ServiceDiscovery, bob.Caller.Caller).Register(ctx, sv); err != nil {
		t.Error(err)
	}
	sd := deployment.NewServiceDiscovery(one.ServiceDiscovery, alice.Caller.Caller)
	servicetest.Eventually(t, "the service", func() bool {
		list, err := sd.Services(ctx, deployment.Filter{Type: "visor"})
		return err == nil && len(list) == 1
	})

	if err := deployment.NewUptimeTracker(one.UptimeTracker, bob.Caller.Caller).Update(ctx, bob.in, "v1"); err != nil {
		t.Error(err)
	}
	if list, err := deployment.NewUptimeTracker(two.UptimeTracker, alice.Caller.Caller).Uptimes(ctx, deployment.UptimeQuery{}); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}

	// The relay is listed by both discoveries.
	for _, c := range []deployment.Conf{one, two} {
		d, err := disc.New(c.DmsgDiscovery, disc.HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		servicetest.Eventually(t, "the relay", func() bool {
			list, err := d.AllServers(ctx)
			return err == nil && len(list) == 1
		})
	}
}

// A second deployment does not get at the store of the first.
func TestStoreOfAnother(t *testing.T) {
	dir := t.TempDir()
	redis := redistest.Start(t).URL()
	_, stop := startAll(t, filepath.Join(dir, "one"), "--relay-addr=", "--stun-addr=", "--store", redis)
	var out logLines
	code := NewCommand(&out, &out, "v0", false).Main(t.Context(), []string{"all", "--dir", filepath.Join(dir, "two"), "--addr", "127.0.0.1:0", "--relay-addr=", "--stun-addr=", "--store", redis})
	if got := strings.Join(out.lines, ""); code != cli.ExitFailed || !strings.Contains(got, "the store is that of the deployment") {
		t.Errorf("exit code %d: %s", code, got)
	}
	stop()
	startAll(t, filepath.Join(dir, "one"), "--relay-addr=", "--stun-addr=", "--store", redis)
	startAll(t, filepath.Join(dir, "two"), "--relay-addr=", "--stun-addr=", "--store", redis+"?prefix=two:")
}

// The bootstrap and the setup node alone, on dmsg by way of a discovery alone.
func TestConfAndSetupNodeAlone(t *testing.T) {
	url, _ := startAll(t, filepath.Join(t.TempDir(), "all"), append(anywhere(), "--no-setup-node")...)
	c, err := deployment.FetchConf(t.Context(), url, roundTripper(t), cipher.PubKey{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keys := map[string]cipher.PubKey{}
	for _, name := range []string{"conf", "setup"} {
		pk, sk := cipher.GenerateKeyPair()
		keys[name] = pk
		if err := cipher.SaveSecKey(filepath.Join(dir, name+".key"), sk); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "setup-node", "--secret-key-file", filepath.Join(dir, "setup.key"), "--dmsg-discovery", c.DmsgDiscovery).field(t, "setup node is up", "pk")

	file := filepath.Join(dir, "conf.json")
	told := deployment.Conf{Name: "by hand", DmsgDiscovery: c.DmsgDiscovery, SetupNodes: []cipher.PubKey{keys["setup"]}, STUNServers: c.STUNServers, DmsgServers: c.DmsgServers}
	cfg := DefaultSingleConfig("127.0.0.1:0")
	cfg.SecretKeyFile, cfg.DmsgDiscovery, cfg.Conf = "conf.key", c.DmsgDiscovery, &told
	if err := conf.Save(file, &cfg, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	at := "http://" + run(t, "conf", "--config", file).field(t, "service is up", "addr")
	got, err := deployment.FetchConf(t.Context(), at, roundTripper(t), keys["conf"])
	if err != nil || got.Name != "by hand" || got.SetupNodes[0] != keys["setup"] {
		t.Fatalf("%+v, %v", got, err)
	}

	d, err := disc.New(c.DmsgDiscovery, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, pk := range keys {
		servicetest.Eventually(t, name+" is on dmsg", func() bool {
			e, err := d.Entry(t.Context(), pk)
			return err == nil && e.Client != nil && len(e.Client.DelegatedServers) == 1
		})
	}
}
