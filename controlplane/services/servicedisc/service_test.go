package servicedisc

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

// everywhere is a Locator that knows loopback.
type everywhere struct{}

func (everywhere) Locate(a netip.Addr) *deployment.Geo {
	if !a.IsLoopback() {
		return nil
	}
	return &deployment.Geo{Lat: 47.5, Lon: 19, Country: "HU", Region: "BU"}
}

func start(t testing.TB, st store.Store, change func(*Options)) *servicetest.Rig {
	t.Helper()
	return servicetest.Run(t, st, func(st store.Store, v *httpauth.Verifier) (httpd.Service, error) {
		o := DefaultOptions()
		o.Verifier = v
		if change != nil {
			change(&o)
		}
		return New(st, o)
	})
}

func vpn(c servicetest.Caller, port uint16) deployment.Service {
	return deployment.Service{Address: deployment.ServiceAddr{PK: c.PK, Port: port}, Type: "vpn", Version: "v1"}
}

func TestServices(t *testing.T) {
	clock := servicetest.NewClock(time.Now())
	r := start(t, servicetest.Open(t, "", clock.Now), func(o *Options) { o.Now, o.Geo = clock.Now, everywhere{} })
	ctx := t.Context()
	alice, bob := servicetest.NewCaller(t), servicetest.NewCaller(t)
	sd, other := deployment.NewServiceDiscovery(r.URL, alice.Caller), deployment.NewServiceDiscovery(r.URL, bob.Caller)
	sv := vpn(alice, 44)
	// Where it is, how good it is, and its addresses are not for the caller to say.
	sv.Geo = &deployment.Geo{Lat: 1, Lon: 2, Country: "XX"}
	sv.Info = &deployment.ServiceInfo{Latency: 0.1, Uptime: 100, Connections: 3}
	sv.LocalIPs = []string{"192.168.1.1"}
	got, err := sd.Register(ctx, sv)
	if err != nil || got.Geo == nil || got.Geo.Country != "HU" || got.Info.Uptime != 0 || got.Info.Connections != 3 || len(got.LocalIPs) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := other.Register(ctx, deployment.Service{Address: deployment.ServiceAddr{PK: bob.PK, Port: 5}, Type: "vpn", Version: "v2"}); err != nil {
		t.Fatal(err)
	}
	count := func(f deployment.Filter) int {
		t.Helper()
		list, err := other.Services(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	for _, tt := range []struct {
		f    deployment.Filter
		want int
	}{
		{deployment.Filter{Type: "vpn"}, 2},
		{deployment.Filter{Type: "vpn", Version: "v1"}, 1},
		{deployment.Filter{Type: "vpn", Country: "hu"}, 2},
		{deployment.Filter{Type: "vpn", Country: "XX"}, 0},
		{deployment.Filter{Type: "vpn", Quantity: 1}, 1},
		{deployment.Filter{Type: "proxy"}, 0},
	} {
		if n := count(tt.f); n != tt.want {
			t.Errorf("%+v: %d, want %d", tt.f, n, tt.want)
		}
	}
	one := "/api/services/" + sv.Address.String() + "?type=vpn"
	if status, h, body := r.Do(t, "GET", one, ""); status != 200 || !strings.Contains(body, `"country":"HU"`) || h.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %s %v", status, body, h)
	}
	if err := other.Delete(ctx, sv.Address, "vpn"); !errors.Is(err, deployment.ErrForbidden) {
		t.Errorf("somebody else takes it back: %v", err)
	}
	if err := sd.Delete(ctx, sv.Address, "vpn"); err != nil {
		t.Error(err)
	}
	if n := count(deployment.Filter{Type: "vpn"}); n != 1 {
		t.Errorf("%d are left", n)
	}
	clock.Add(4 * time.Minute)
	if n := count(deployment.Filter{Type: "vpn", Quantity: 9}); n != 0 {
		t.Errorf("%d have not expired", n)
	}
}

func TestRefusals(t *testing.T) {
	r := start(t, servicetest.Open(t, "", time.Now), func(o *Options) { o.PerKey, o.KeyRate, o.KeyBurst = 2, 1e-6, 5 })
	alice, bob := servicetest.NewCaller(t), servicetest.NewCaller(t)
	sd := deployment.NewServiceDiscovery(r.URL, alice.Caller)
	change := func(f func(*deployment.Service)) deployment.Service {
		sv := vpn(alice, 1)
		f(&sv)
		return sv
	}
	tests := []struct {
		sv   deployment.Service
		want error
	}{
		{vpn(bob, 1), deployment.ErrForbidden},
		{change(func(s *deployment.Service) { s.Type = "" }), deployment.ErrBadRequest},
		{change(func(s *deployment.Service) { s.Type = "V P N" }), deployment.ErrBadRequest},
		{change(func(s *deployment.Service) { s.Version = "" }), deployment.ErrForbidden},
		{change(func(s *deployment.Service) { s.Version = "\x00" }), deployment.ErrBadRequest},
		{change(func(s *deployment.Service) { s.LocalIPs = []string{"x"} }), deployment.ErrBadRequest},
		{change(func(s *deployment.Service) { s.LocalIPs = make([]string, 99) }), deployment.ErrBadRequest},
		{change(func(s *deployment.Service) {}), nil},
		{change(func(s *deployment.Service) { s.Address.Port = 2 }), nil},
		{change(func(s *deployment.Service) { s.Address.Port = 3 }), deployment.ErrLimit},
		{change(func(s *deployment.Service) {}), nil},
		{change(func(s *deployment.Service) {}), nil},
		{change(func(s *deployment.Service) {}), deployment.ErrRate},
	}
	for i, tt := range tests {
		if _, err := sd.Register(t.Context(), tt.sv); !errors.Is(err, tt.want) {
			t.Errorf("%d: %v, want %v", i, err, tt.want)
		}
	}
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/services", 400},
		{"GET", "/api/services?type=vpn&quantity=x", 400},
		{"GET", "/api/services/x?type=vpn", 400},
		{"GET", "/api/services/" + bob.PK.String() + ":1?type=vpn", 404},
		{"GET", "/api/servicesx", 404},
		{"POST", "/api/services", 401},
		{"DELETE", "/api/services/" + bob.PK.String() + ":1?type=vpn", 401},
		{"PUT", "/api/services", 405},
		{"OPTIONS", "/api/services", 204},
		{"GET", "/security/nonces/" + bob.PK.String(), 200},
	} {
		if status, _, body := r.Do(t, tt.method, tt.path, ""); status != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, status, body, tt.status)
		}
	}
	if _, _, body := r.Do(t, "GET", "/metrics", ""); !strings.Contains(body, `skywire_sd_services{type="vpn"} 2`) {
		t.Error(body)
	}
}

func TestTwoInstances(t *testing.T) {
	server := redistest.Start(t)
	one := start(t, servicetest.Open(t, server.URL(), time.Now), nil)
	two := start(t, servicetest.Open(t, server.URL(), time.Now), nil)
	c := servicetest.NewCaller(t)
	if _, err := deployment.NewServiceDiscovery(one.URL, c.Caller).Register(t.Context(), vpn(c, 1)); err != nil {
		t.Fatal(err)
	}
	sd := deployment.NewServiceDiscovery(two.URL, c.Caller)
	servicetest.Eventually(t, "the other instance lists it", func() bool {
		list, err := sd.Services(t.Context(), deployment.Filter{Type: "vpn"})
		return err == nil && len(list) == 1
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"address":"0246b2f4b8f0d22e52bcc0b9dce6a6ab9bf9fb1ad0a4ecb3f1f2d3e4a5b6c7d8e9:1","type":"vpn","version":"v1","local_ips":["::1%x"],"display_node_ip":true,"info":{"connections":-1}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		sv, err := parse(b)
		var refused *deployment.Error
		if err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		if err == nil && (!isType(sv.Type) || len(sv.LocalIPs) > maxIPs || sv.Geo != nil || sv.Address.PK.IsZero()) {
			t.Fatalf("%+v", sv)
		}
	})
}
