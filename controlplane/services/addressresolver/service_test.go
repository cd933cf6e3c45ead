package addressresolver

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

// A dialler answers dials back as the test says, and counts them.
type dialler struct {
	mu  sync.Mutex
	err error
	n   int
}

func (d *dialler) dial(context.Context, netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	return d.err
}

func (d *dialler) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *dialler) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// start runs a resolver.
func start(t testing.TB, st store.Store, change func(*Options)) (*servicetest.Rig, *Service) {
	t.Helper()
	var s *Service
	r := servicetest.Run(t, st, func(st store.Store, v *httpauth.Verifier) (httpd.Service, error) {
		o := DefaultOptions()
		o.Verifier = v
		if change != nil {
			change(&o)
		}
		var err error
		s, err = New(st, o)
		return s, err
	})
	return r, s
}

var first = deployment.Instance{ID: "0000000000000001", Started: 100}

func TestBindAndResolve(t *testing.T) {
	clock := servicetest.NewClock(time.Now())
	var d dialler
	r, _ := start(t, servicetest.Open(t, "", clock.Now), func(o *Options) { o.Now, o.Dial = clock.Now, d.dial })
	ctx := t.Context()
	alice, bob := servicetest.NewCaller(t), servicetest.NewCaller(t)
	ar, other := deployment.NewAddressResolver(r.URL, alice.Caller), deployment.NewAddressResolver(r.URL, bob.Caller)
	if _, err := other.Resolve(ctx, alice.PK); !errors.Is(err, deployment.ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	b := deployment.Bind{Port: 7777, Addresses: []string{"192.168.1.5", "8.8.8.8", "fe80::1%eth0", "127.0.0.1"}}
	bound, err := ar.Bind(ctx, first, b)
	if err != nil || bound.RemoteAddr.String() != "127.0.0.1:7777" || !bound.Reachable || bound.Why != "" || bound.TTL != 180 {
		t.Errorf("%+v, %v", bound, err)
	}
	got, err := other.Resolve(ctx, alice.PK)
	// Of the addresses that the visor names only those of a LAN are believed.
	if err != nil || got.RemoteAddr != bound.RemoteAddr || len(got.Addresses) != 1 || got.Addresses[0].String() != "192.168.1.5:7777" {
		t.Errorf("%+v, %v", got, err)
	}
	if keys, err := other.Transports(ctx); err != nil || !slices.Equal(keys.STCPR, []cipher.PubKey{alice.PK}) {
		t.Errorf("%+v, %v", keys, err)
	}
	// An address that answered is dialled again after minutes only; the record lives
	// as long as it is refreshed.
	for range 5 {
		clock.Add(time.Minute)
		if _, err := ar.Bind(ctx, first, b); err != nil {
			t.Fatal(err)
		}
	}
	if d.count() != 1 {
		t.Errorf("%d dials back, want 1", d.count())
	}
	clock.Add(10 * time.Minute)
	if _, err := other.Resolve(ctx, alice.PK); !errors.Is(err, deployment.ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	if _, err := ar.Bind(ctx, first, b); err != nil || d.count() != 2 {
		t.Errorf("%v, %d dials back", err, d.count())
	}
	if err := ar.Unbind(ctx); err != nil {
		t.Error(err)
	}
	if err := ar.Unbind(ctx); err != nil {
		t.Errorf("twice: %v", err)
	}
	if _, err := other.Resolve(ctx, alice.PK); !errors.Is(err, deployment.ErrNotFound) {
		t.Errorf("unbound: %v", err)
	}
}

// Who cannot be reached is told why, and nobody is sent there.
func TestUnreachable(t *testing.T) {
	d := dialler{err: syscall.ECONNREFUSED}
	r, _ := start(t, servicetest.Open(t, "", time.Now), func(o *Options) { o.Dial = d.dial })
	alice, bob := servicetest.NewCaller(t), servicetest.NewCaller(t)
	ar, other := deployment.NewAddressResolver(r.URL, alice.Caller), deployment.NewAddressResolver(r.URL, bob.Caller)
	bound, err := ar.Bind(t.Context(), first, deployment.Bind{Port: 7777})
	if err != nil || bound.Reachable || !strings.Contains(bound.Why, "127.0.0.1:7777 refuses connections") {
		t.Errorf("%+v, %v", bound, err)
	}
	if _, err := other.Resolve(t.Context(), alice.PK); !errors.Is(err, deployment.ErrNotFound) || !strings.Contains(err.Error(), "refuses connections") {
		t.Errorf("%v", err)
	}
	if keys, err := other.Transports(t.Context()); err != nil || len(keys.STCPR) != 0 {
		t.Errorf("%+v, %v", keys, err)
	}
	// It is tried anew at each bind, so that what was mended is seen at once.
	d.set(nil)
	if bound, err := ar.Bind(t.Context(), first, deployment.Bind{Port: 7777}); err != nil || !bound.Reachable {
		t.Errorf("%+v, %v", bound, err)
	}
	if _, err := other.Resolve(t.Context(), alice.PK); err != nil {
		t.Error(err)
	}
}

func TestWhy(t *testing.T) {
	to := netip.MustParseAddrPort("192.0.2.1:7777")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().(*net.TCPAddr).AddrPort()
	if err := dial(t.Context(), open); err != nil {
		t.Error(err)
	}
	l.Close()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{dial(t.Context(), open), "refuses connections"},
		{context.DeadlineExceeded, "does not answer"},
		{syscall.EHOSTUNREACH, "no way from here"},
		{errors.New("x"), "cannot connect"},
	} {
		if got := why(tt.err, to); !strings.Contains(got, tt.want) || !strings.Contains(got, to.String()) {
			t.Errorf("%v: %s", tt.err, got)
		}
	}
}

// The dials back are limited by where they go: nobody has a third party flooded.
func TestDialsAreLimited(t *testing.T) {
	var d dialler
	r, _ := start(t, servicetest.Open(t, "", time.Now), func(o *Options) { o.Dial, o.DialRate, o.DialBurst = d.dial, 1e-6, 2 })
	for i := range 4 {
		c := servicetest.NewCaller(t)
		bound, err := deployment.NewAddressResolver(r.URL, c.Caller).Bind(t.Context(), first, deployment.Bind{Port: 7777})
		if err != nil || bound.Reachable != (i < 2) || (bound.Why == "") != (i < 2) {
			t.Errorf("%d: %+v, %v", i, bound, err)
		}
		// What was not tried is given out all the same.
		if _, err := deployment.NewAddressResolver(r.URL, c.Caller).Resolve(t.Context(), c.PK); err != nil {
			t.Error(err)
		}
	}
	if d.count() != 2 {
		t.Errorf("%d dials", d.count())
	}
}

func TestSameKeyTwice(t *testing.T) {
	var d dialler
	r, _ := start(t, servicetest.Open(t, "", time.Now), func(o *Options) { o.Dial = d.dial })
	c := servicetest.NewCaller(t)
	ar := deployment.NewAddressResolver(r.URL, c.Caller)
	second := deployment.Instance{ID: "0000000000000002", Started: 200}
	for _, step := range []struct {
		in deployment.Instance
		ok bool
	}{{first, true}, {second, true}, {first, false}, {second, true}} {
		_, err := ar.Bind(t.Context(), step.in, deployment.Bind{Port: 7777})
		if step.ok != (err == nil) || err != nil && (!errors.Is(err, deployment.ErrDuplicateKey) || !strings.Contains(err.Error(), "a loopback address")) {
			t.Errorf("%+v: %v", step.in, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	var d dialler
	r, s := start(t, servicetest.Open(t, "", time.Now), func(o *Options) { o.Dial, o.KeyRate, o.KeyBurst = d.dial, 1e-6, 3 })
	c := servicetest.NewCaller(t)
	tests := []struct {
		method, path string
		in           any
		want         error
	}{
		{"POST", "/bind/stcpr", map[string]any{"port": "0"}, deployment.ErrBadRequest},
		{"POST", "/bind/stcpr", map[string]any{"port": "x"}, deployment.ErrBadRequest},
		{"POST", "/bind/stcpr", map[string]any{"port": 7}, deployment.ErrBadRequest},
		{"POST", "/bind/stcpr", map[string]any{"port": "7", "addresses": []string{"x"}}, deployment.ErrBadRequest},
		{"POST", "/bind/stcpr", map[string]any{"port": "7", "instance": strings.Repeat("x", 65)}, deployment.ErrBadRequest},
		{"GET", "/resolve/stcpr/x", nil, deployment.ErrBadRequest},
		{"GET", "/resolve/sudph/" + c.PK.String(), nil, deployment.ErrNotFound},
		{"POST", "/bind/sudph", nil, deployment.ErrNotFound},
		{"GET", "/bind/stcpr", nil, deployment.ErrNotFound},
	}
	for _, tt := range tests {
		if err := c.Do(t.Context(), tt.method, r.URL, tt.path, tt.in, nil); !errors.Is(err, tt.want) {
			t.Errorf("%s %s %v: %v, want %v", tt.method, tt.path, tt.in, err, tt.want)
		}
	}
	for _, path := range []string{"/bind/stcpr", "/bind/stcpr?SW-Public=" + c.PK.String()} {
		if status, _, body := r.Do(t, "POST", path, `{"port":"7"}`); status != 401 {
			t.Errorf("unsigned: %d %s", status, body)
		}
	}
	if status, _, body := r.Do(t, "GET", "/resolve/stcpr/"+c.PK.String(), ""); status != 401 {
		t.Errorf("unsigned: %d %s", status, body)
	}
	if status, _, body := r.Do(t, "GET", "/security/nonces/"+c.PK.String(), ""); status != 200 || !strings.Contains(body, "next_nonce") {
		t.Errorf("nonce: %d %s", status, body)
	}
	if status, _, body := r.Do(t, "GET", "/metrics", ""); status != 200 || !strings.Contains(body, `skywire_ar_records{reach="yes"} 0`) {
		t.Errorf("metrics: %d %s", status, body)
	}
	ar := deployment.NewAddressResolver(r.URL, c.Caller)
	for i := range 4 {
		_, err := ar.Bind(t.Context(), first, deployment.Bind{Port: 7777})
		if (i < 3) != (err == nil) || err != nil && !errors.Is(err, deployment.ErrRate) {
			t.Errorf("bind %d: %v", i, err)
		}
	}
	// Over dmsg no address is seen.
	var rc fasthttp.RequestCtx
	var rq fasthttp.Request
	rq.Header.SetMethod("POST")
	rq.SetRequestURI("/bind/stcpr")
	rq.SetBodyString(`{"port":"7"}`)
	rc.Init(&rq, dmsgAddr(c.PK.String()+":49153"), nil)
	s.Handler(httpd.OverDmsg)(&rc)
	if rc.Response.StatusCode() != 400 || !strings.Contains(string(rc.Response.Body()), "over dmsg your address is not seen") {
		t.Errorf("over dmsg: %s", rc.Response.String())
	}
}

type dmsgAddr string

func (dmsgAddr) Network() string  { return "dmsg" }
func (a dmsgAddr) String() string { return string(a) }

// Who learns which addresses.
func TestReply(t *testing.T) {
	public, lan := netip.MustParseAddrPort("198.51.100.7:7777"), netip.MustParseAddrPort("192.168.1.5:7777")
	local := []netip.Addr{lan.Addr()}
	tests := []struct {
		name  string
		r     record
		from  string
		local int
		ok    bool
	}{
		{"public, from elsewhere", record{Remote: public, Local: local, Reach: reachable}, "203.0.113.1", 0, true},
		{"public, same NAT", record{Remote: public, Local: local, Reach: reachable}, "198.51.100.7", 1, true},
		{"behind NAT, from elsewhere", record{Remote: public, Local: local, Reach: unreachable}, "203.0.113.1", 0, false},
		{"behind NAT, same NAT", record{Remote: public, Local: local, Reach: unreachable}, "198.51.100.7", 1, true},
		{"behind NAT, over dmsg", record{Remote: public, Local: local, Reach: unreachable}, "", 0, false},
		{"private deployment", record{Remote: lan, Local: local, Reach: reachable}, "192.168.1.6", 1, true},
		{"not tried", record{Remote: public, Reach: unknown}, "203.0.113.1", 0, true},
	}
	for _, tt := range tests {
		var from netip.Addr
		if tt.from != "" {
			from = netip.MustParseAddr(tt.from)
		}
		got, ok := tt.r.reply(from)
		if ok != tt.ok || len(got.Addresses) != tt.local {
			t.Errorf("%s: %+v, %v", tt.name, got, ok)
		}
	}
}

// Two instances on one Redis give out what either has taken.
func TestTwoInstances(t *testing.T) {
	server := redistest.Start(t)
	var d dialler
	one, _ := start(t, servicetest.Open(t, server.URL(), time.Now), func(o *Options) { o.Dial = d.dial })
	two, _ := start(t, servicetest.Open(t, server.URL(), time.Now), func(o *Options) { o.Dial = d.dial })
	c := servicetest.NewCaller(t)
	if _, err := deployment.NewAddressResolver(one.URL, c.Caller).Bind(t.Context(), first, deployment.Bind{Port: 7777}); err != nil {
		t.Fatal(err)
	}
	ar := deployment.NewAddressResolver(two.URL, c.Caller)
	servicetest.Eventually(t, "the other instance knows", func() bool { _, err := ar.Resolve(t.Context(), c.PK); return err == nil })
	if _, err := ar.Bind(t.Context(), deployment.Instance{ID: "0", Started: 1}, deployment.Bind{Port: 7777}); !errors.Is(err, deployment.ErrDuplicateKey) {
		t.Errorf("%v", err)
	}
	if err := ar.Unbind(t.Context()); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, "gone everywhere", func() bool {
		keys, err := deployment.NewAddressResolver(one.URL, c.Caller).Transports(t.Context())
		return err == nil && len(keys.STCPR) == 0
	})
}

func FuzzBind(f *testing.F) {
	f.Add([]byte(`{"port":"7777","addresses":["192.168.1.1","fe80::1%x"],"instance":"a","started":1}`))
	f.Add([]byte(`{"port":"99999"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		port, local, in, err := parseBind(body)
		if err != nil {
			if !errors.Is(err, deployment.ErrBadRequest) {
				t.Fatal(err)
			}
			return
		}
		if port == 0 || len(local) > maxAddresses || len(in.ID) > maxInstance {
			t.Fatalf("%d %v %+v", port, local, in)
		}
		for _, a := range local {
			if a.Zone() != "" || !a.IsGlobalUnicast() || a.IsLoopback() {
				t.Fatalf("%v was taken", a)
			}
		}
		if _, err := json.Marshal(record{Remote: netip.AddrPortFrom(netip.MustParseAddr("::1"), port), Local: local}); err != nil {
			t.Fatal(err)
		}
	})
}
