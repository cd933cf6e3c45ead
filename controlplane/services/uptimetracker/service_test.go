package uptimetracker

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
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

type somewhere struct{}

func (somewhere) Locate(netip.Addr) *deployment.Geo {
	return &deployment.Geo{Lat: 47.4979, Lon: 19.0402, Country: "HU"}
}

func start(t testing.TB, st store.Store, clock *servicetest.Clock) *servicetest.Rig {
	t.Helper()
	return servicetest.Run(t, st, func(st store.Store, v *httpauth.Verifier) (httpd.Service, error) {
		o := DefaultOptions()
		o.Verifier, o.Now, o.Geo, o.Fresh, o.KeyRate = v, clock.Now, somewhere{}, 0, 0
		return New(st, o)
	})
}

// at is an hour before the day, the month and the year change.
func at(text string) time.Time {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return t
}

var instance = deployment.Instance{ID: "0000000000000001", Started: 100}

// A visor that calls every five minutes, more or less, has been up all the time, over
// midnight and into the next month.
func TestDays(t *testing.T) {
	clock := servicetest.NewClock(at("2026-01-31 23:00:00"))
	r := start(t, servicetest.Open(t, "", clock.Now), clock)
	c := servicetest.NewCaller(t)
	ut := deployment.NewUptimeTracker(r.URL, c.Caller)
	ctx := t.Context()
	pauses := []time.Duration{5 * time.Minute, 5*time.Minute + 20*time.Second, 4*time.Minute + 40*time.Second}
	for end := at("2026-02-01 01:00:00"); clock.Now().Before(end); {
		if err := ut.Update(ctx, instance, "v1"); err != nil {
			t.Fatal(err)
		}
		// Again in the same slot: that counts once.
		if err := ut.Update(ctx, instance, "v1"); err != nil {
			t.Fatal(err)
		}
		clock.Add(pauses[0])
		pauses = append(pauses[1:], pauses[0])
	}
	ask := func(q deployment.UptimeQuery) deployment.Uptime {
		t.Helper()
		list, err := ut.Uptimes(ctx, q)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v: %+v, %v", q, list, err)
		}
		return list[0]
	}
	// It is 01:00 now, so the slot that begins then has begun too.
	u := ask(deployment.UptimeQuery{Daily: true})
	if u.PK != c.PK || u.Version != "v1" || !u.On || u.Up != 3600 || u.Down != 300 {
		t.Errorf("%+v", u)
	}
	if got := u.Daily["2026-01-31"]; len(u.Daily) != 7 || got != "4.17" || u.Daily["2026-02-01"] != "92.31" || u.Daily["2026-01-30"] != "0.00" {
		t.Errorf("%v", u.Daily) // 12 of 288 slots, 12 of 13
	}
	u = ask(deployment.UptimeQuery{Start: "2026-01", End: "2026-01", Daily: true})
	if u.Up != 3600 || u.Down != 31*86400-3600 || len(u.Daily) != 31 {
		t.Errorf("%+v", u)
	}
	clock.Add(time.Hour)
	if u := ask(deployment.UptimeQuery{Status: "off", Visors: []cipher.PubKey{c.PK}}); u.On || u.Up != 3600 {
		t.Errorf("%+v", u)
	}
	if list, err := ut.Uptimes(ctx, deployment.UptimeQuery{Status: "on"}); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	// The hour in which it was silent does not count once it is back.
	if err := ut.Update(ctx, instance, "v2"); err != nil {
		t.Fatal(err)
	}
	if u := ask(deployment.UptimeQuery{}); u.Up != 3900 || u.Version != "v2" {
		t.Errorf("%+v", u)
	}
}

func TestMark(t *testing.T) {
	var r record
	day := at("2026-03-10 12:00:00")
	for _, step := range []struct {
		after time.Duration
		want  uint16
		took  bool
	}{
		{0, 1, true},
		{4*time.Minute + 59*time.Second, 1, false},
		{time.Second, 2, true},                   // 12:05:00
		{7 * time.Minute, 3, true},               // 12:12, one slot on
		{7 * time.Minute, 4, true},               // 12:19
		{7 * time.Minute, 6, true},               // 12:26, two slots on, and no more than a late call
		{10 * time.Minute, 7, true},              // 12:36: it was away
		{-20 * time.Minute, 7, false},            // another instance of the service, with another clock
		{20*time.Minute + 1, 7, false},           // 12:36 again
		{12*time.Hour - 36*time.Minute, 7, true}, // the next day
	} {
		day = day.Add(step.after)
		if took := r.mark(day); took != step.took || r.Days[9] != step.want {
			t.Errorf("%v: %v, %d slots; want %v, %d", day, took, r.Days[9], step.took, step.want)
		}
	}
	if r.Days[10] != 1 {
		t.Errorf("%v", r.Days)
	}
}

func TestSameKeyTwice(t *testing.T) {
	clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
	r := start(t, servicetest.Open(t, "", clock.Now), clock)
	c := servicetest.NewCaller(t)
	ut := deployment.NewUptimeTracker(r.URL, c.Caller)
	later := deployment.Instance{ID: "0000000000000002", Started: 200}
	for _, step := range []struct {
		in   deployment.Instance
		want error
	}{{instance, nil}, {later, nil}, {instance, deployment.ErrDuplicateKey}, {later, nil}} {
		if err := ut.Update(t.Context(), step.in, "v1"); !errors.Is(err, step.want) {
			t.Errorf("%+v: %v", step.in, err)
		}
	}
	clock.Add(online)
	if err := ut.Update(t.Context(), instance, "v1"); err != nil {
		t.Errorf("the other has gone: %v", err)
	}
}

func TestPages(t *testing.T) {
	clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
	r := start(t, servicetest.Open(t, "", clock.Now), clock)
	c := servicetest.NewCaller(t)
	if err := deployment.NewUptimeTracker(r.URL, c.Caller).Update(t.Context(), instance, "v1"); err != nil {
		t.Fatal(err)
	}
	stranger, _ := cipher.GenerateKeyPair()
	for _, tt := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/uptime/" + c.PK.String(), 200, `"on":true`},
		{"GET", "/uptime/" + stranger.String(), 404, "nothing is known"},
		{"GET", "/uptime/x", 400, "public key"},
		{"GET", "/visors", 200, `[{"lat":47.5,"lon":19,"count":1}]`},
		{"GET", "/uptimes?visors=x", 400, "no public key"},
		{"GET", "/uptimes?status=x", 400, "neither on nor off"},
		{"GET", "/uptimes?startDate=x", 400, "no month"},
		{"GET", "/uptimes?startDate=2020-01", 400, "months"},
		{"GET", "/uptimes?startDate=2025-12-01&endDate=2027-01", 200, c.PK.String()},
		{"GET", "/v4/update", 401, ""},
		{"POST", "/v4/update", 401, ""},
		{"GET", "/v3/update", 410, "use /v4/update"},
		{"GET", "/x", 404, ""},
		{"GET", "/security/nonces/" + stranger.String(), 200, "next_nonce"},
		{"GET", "/metrics", 200, "skywire_ut_visors_on 1"},
	} {
		if status, _, body := r.Do(t, tt.method, tt.path, ""); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s, want %d and %q", tt.method, tt.path, status, body, tt.status, tt.want)
		}
	}
	for path, want := range map[string]error{
		"/v4/update?started=x":                                        deployment.ErrBadRequest,
		"/v4/update?version=" + strings.Repeat("x", 65):               deployment.ErrBadRequest,
		"/v4/update?version=v1&instance=0000000000000009&started=200": nil, // POST is fine too
	} {
		if err := c.Do(t.Context(), "POST", r.URL, path, nil, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// Two instances on one Redis count a slot once, whichever is called; while Redis is
// gone lists are answered from memory.
func TestTwoInstances(t *testing.T) {
	server := redistest.Start(t)
	clock := servicetest.NewClock(at("2026-01-15 12:00:00"))
	one := start(t, servicetest.Open(t, server.URL(), time.Now), clock)
	two := start(t, servicetest.Open(t, server.URL(), time.Now), clock)
	c := servicetest.NewCaller(t)
	for range 3 {
		for _, r := range []*servicetest.Rig{one, two} {
			if err := deployment.NewUptimeTracker(r.URL, c.Caller).Update(t.Context(), instance, "v1"); err != nil {
				t.Fatal(err)
			}
		}
		clock.Add(5 * time.Minute)
	}
	ut := deployment.NewUptimeTracker(one.URL, c.Caller)
	check := func() {
		t.Helper()
		if list, err := ut.Uptimes(t.Context(), deployment.UptimeQuery{}); err != nil || len(list) != 1 || list[0].Up != 900 {
			t.Errorf("%+v, %v", list, err)
		}
	}
	check()
	server.Kill()
	check()
	if err := ut.Update(t.Context(), instance, "v1"); !errors.Is(err, deployment.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	server.Restart()
	servicetest.Eventually(t, "back", func() bool { return ut.Update(t.Context(), instance, "v1") == nil })
}
