package transportdisc

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// listed says whether a transport can be seen: by its id and by its edge p, which may
// differ for the moment in which it comes or goes.
func listed(t *testing.T, p *person, id deployment.TransportID) (byID bool) {
	t.Helper()
	ctx := t.Context()
	servicetest.Eventually(t, "the same by id and by edge", func() bool {
		_, err := p.Transport(ctx, id)
		if err != nil && !errors.Is(err, deployment.ErrNotFound) {
			t.Fatal(err)
		}
		edge, errEdge := p.Edge(ctx, p.pk)
		if errEdge != nil {
			t.Fatal(errEdge)
		}
		byID = err == nil
		return byID == slices.ContainsFunc(edge, func(e deployment.SignedTransport) bool { return e.ID == id })
	})
	return byID
}

func TestRegister(t *testing.T) {
	r := start(t, openStore(t, ""), nil)
	a, b, c := r.visor(1), r.visor(2), r.visor(3)
	e := entry(t, a, b, "stcpr", a)
	if reply := a.register(t, e); len(reply.Listed) != 0 || reply.TTL != 180 {
		t.Errorf("half a transport: %+v", reply)
	}
	if listed(t, a, e.ID) {
		t.Error("half a transport is listed")
	}
	if reply := b.register(t, entry(t, a, b, "stcpr", b)); !slices.Equal(reply.Listed, []deployment.TransportID{e.ID}) {
		t.Errorf("both halves: %+v", reply)
	}
	got, err := c.Transport(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if full := entry(t, a, b, "stcpr", a, b); got.Transport != full.Transport || got.Signatures != full.Signatures || got.Registered == 0 {
		t.Errorf("listed %+v, want %+v", got, full)
	}
	// Whoever reads the list can verify it.
	for i, pk := range got.Edges {
		if err := cipher.Verify(pk, got.Signatures[i], got.SignedBytes()); err != nil {
			t.Error(err)
		}
	}
	list, tag, err := c.All(t.Context(), "")
	if err != nil || len(list) != 1 || tag == "" || list[0] != got {
		t.Errorf("all: %+v, %q, %v", list, tag, err)
	}
	if list, again, err := c.All(t.Context(), tag); list != nil || again != tag || err != nil {
		t.Errorf("all again: %+v, %q, %v", list, again, err)
	}
	// Registering again changes nothing.
	a.register(t, e)
	if again, err := c.Transport(t.Context(), e.ID); err != nil || again != got {
		t.Errorf("again: %+v, %v", again, err)
	}

	if err := c.Delete(t.Context(), e.ID); !errors.Is(err, deployment.ErrForbidden) {
		t.Errorf("a stranger deletes: %v", err)
	}
	if err := b.Delete(t.Context(), e.ID); err != nil {
		t.Errorf("an edge deletes: %v", err)
	}
	if listed(t, a, e.ID) {
		t.Error("deleted, and listed")
	}
	if err := b.Delete(t.Context(), e.ID); !errors.Is(err, deployment.ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	if unknown := a.beat(t, deployment.TransportStats{ID: e.ID}); !slices.Equal(unknown, []deployment.TransportID{e.ID}) {
		t.Errorf("unknown after it was deleted: %v", unknown)
	}
	servicetest.Eventually(t, "list of nothing", func() bool {
		list, _, err := c.All(t.Context(), "")
		return err == nil && list != nil && len(list) == 0
	})
	if halves, transports := r.s.index.size(); halves != 0 || transports != 0 {
		t.Errorf("%d halves and %d transports are left", halves, transports)
	}
}

// With both signatures one edge's registration is enough, once the other is there.
func TestOneRegisters(t *testing.T) {
	r := start(t, openStore(t, ""), nil)
	a, b := r.visor(1), r.visor(2)
	e := entry(t, a, b, "sudph", a, b)
	a.register(t, e)
	if listed(t, a, e.ID) {
		t.Error("listed, though nobody has heard of the other edge")
	}
	b.beat(t)
	if !listed(t, a, e.ID) {
		t.Error("not listed, though both are there")
	}
}

func TestRefused(t *testing.T) {
	r := start(t, openStore(t, ""), func(o *Options) { o.MaxPerKey = 3 })
	a, b, c := r.visor(1), r.visor(2), r.visor(3)
	change := func(f func(*deployment.SignedTransport)) deployment.SignedTransport {
		e := entry(t, a, b, "stcpr", a)
		f(&e)
		return e
	}
	bSide := 0
	if e := entry(t, a, b, "stcpr"); e.Edges[1] == b.pk {
		bSide = 1
	}
	tests := []struct {
		name string
		e    deployment.SignedTransport
		want deployment.Code
	}{
		{"of others", entry(t, b, c, "stcpr", b, c), deployment.CodeForbidden},
		{"not signed", entry(t, a, b, "stcpr"), deployment.CodeUnauthorized},
		{"signed by the other only", entry(t, a, b, "stcpr", b), deployment.CodeUnauthorized},
		{"signed for another type", change(func(e *deployment.SignedTransport) {
			e.Transport = deployment.NewTransport(a.pk, b.pk, "sudph", "")
		}), deployment.CodeUnauthorized},
		{"forged for the other", change(func(e *deployment.SignedTransport) { e.Signatures[bSide] = e.Signatures[1-bSide] }), deployment.CodeUnauthorized},
		{"wrong id", change(func(e *deployment.SignedTransport) { e.ID[3]++ }), deployment.CodeBadRequest},
		{"edges the wrong way round", change(func(e *deployment.SignedTransport) { e.Edges[0], e.Edges[1] = e.Edges[1], e.Edges[0] }), deployment.CodeBadRequest},
		{"to itself", entry(t, a, a, "stcpr", a), deployment.CodeBadRequest},
		{"no type", entry(t, a, b, "", a), deployment.CodeBadRequest},
		{"strange type", entry(t, a, b, `x"`, a), deployment.CodeBadRequest},
		{"strange label", change(func(e *deployment.SignedTransport) { e.Label = "<b>" }), deployment.CodeBadRequest},
		{"to no key", entry(t, a, &person{}, "stcpr", a), deployment.CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply, err := a.Register(t.Context(), a.in, []deployment.SignedTransport{tt.e})
			if err != nil || len(reply.Refused) != 1 || reply.Refused[0].Code != tt.want || len(reply.Listed) != 0 {
				t.Errorf("%+v, %v, want %s", reply, err, tt.want)
			}
		})
	}
	var many []deployment.SignedTransport
	for _, typ := range []string{"a", "b", "c", "d"} {
		many = append(many, entry(t, a, b, typ, a))
	}
	reply, err := a.Register(t.Context(), a.in, many)
	if err != nil || len(reply.Refused) != 1 || reply.Refused[0].Code != deployment.CodeLimit || reply.Refused[0].ID != many[3].ID {
		t.Errorf("more than allowed: %+v, %v", reply, err)
	}
	// Good ones beside bad ones are taken.
	reply, err = b.Register(t.Context(), b.in, []deployment.SignedTransport{entry(t, b, c, "x", c), entry(t, a, b, "a", b)})
	if err != nil || len(reply.Refused) != 1 || len(reply.Listed) != 1 {
		t.Errorf("good and bad: %+v, %v", reply, err)
	}
}

func TestBadRequests(t *testing.T) {
	r := start(t, openStore(t, ""), nil)
	a := r.visor(1)
	in := `"instance":"0123456789abcdef","started":1`
	tests := []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/transports/", `[]`, 400}, // of deployed visors only
		{"POST", "/transports/", `{"entries":[]}`, 400},
		{"POST", "/transports/", `{` + in + `,"entries":[{"entry":{"t_id":"x"}}]}`, 400},
		{"POST", "/transports/", `{` + in + `,"entries":[` + strings.TrimSuffix(strings.Repeat(`{},`, 65), ",") + `]}`, 400},
		{"POST", "/transports/", `{` + in + `,"entries":[{}]}`, 201},
		{"POST", "/transports/", `nothing`, 400},
		{"POST", "/transports/heartbeat", `{}`, 400},
		{"POST", "/transports/heartbeat", `{"instance":"` + strings.Repeat("x", 33) + `"}`, 400},
		{"POST", "/transports/heartbeat", `{` + in + `,"stats":[` + strings.TrimSuffix(strings.Repeat(`{},`, 257), ",") + `]}`, 400},
		{"POST", "/transports/heartbeat", `{` + in + `,"stats":[{"rtt_us":-5,"loss_ppm":1e30}]}`, 400},
		{"POST", "/transports/heartbeat", `{` + in + `,"stats":[{"rtt_us":-5,"mbps":-1e300}]}`, 200},
		{"GET", "/transports/id:x", "", 400},
		{"GET", "/transports/id:00000000-0000-0000-0000-000000000000", "", 404},
		{"GET", "/transports/edge:x", "", 400},
		{"GET", "/transports/edge:" + a.pk.String(), "", 404},
		{"GET", "/statistics/edge:" + a.pk.String(), "", 404},
		{"DELETE", "/statistics/id:00000000-0000-0000-0000-000000000000", "", 404},
		{"DELETE", "/transports/id:00000000-0000-0000-0000-000000000000", "", 404},
		{"DELETE", "/transports/deregister", "[]", 403},
		{"POST", "/statuses", "", 410},
		{"GET", "/", "", 404},
		{"PUT", "/all-transports", "", 404},
		{"GET", "/security/nonces/x", "", 400},
	}
	for _, tt := range tests {
		var in any
		if tt.body != "" {
			in = raw(tt.body)
		}
		err := a.caller.Do(t.Context(), tt.method, r.url, tt.path, in, nil)
		var e *deployment.Error
		switch {
		case err == nil && tt.status < 300:
		case errors.As(err, &e) && e.Status == tt.status:
		default:
			t.Errorf("%s %s %.60s: %v, want %d", tt.method, tt.path, tt.body, err, tt.status)
		}
	}
	// Nobody writes without a signature.
	for _, tt := range tests {
		if tt.method == "GET" || tt.status == 410 || tt.status == 404 && tt.method != "DELETE" || strings.HasPrefix(tt.path, "/statistics") {
			continue
		}
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, r.url+tt.path, strings.NewReader(tt.body))
		resp, err := r.rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s without a signature: %d", tt.method, tt.path, resp.StatusCode)
		}
	}
}

// raw is JSON that is sent as it stands, or what is none.
type raw string

func (r raw) MarshalJSON() ([]byte, error) {
	if r == "nothing" {
		return []byte(`"x"`), nil
	}
	return []byte(r), nil
}

// The same key on two machines: the one that was started later has it.
func TestDuplicateKey(t *testing.T) {
	r := start(t, openStore(t, ""), nil)
	a, b := r.visor(1), r.visor(2)
	e := entry(t, a, b, "stcpr", a)
	a.register(t, e)
	b.register(t, entry(t, a, b, "stcpr", b))
	old := a.in
	a.restart()
	a.beat(t)
	if listed(t, b, e.ID) {
		t.Error("listed, though the visor was started anew and has not said that it has it")
	}
	for name, err := range map[string]error{
		"heartbeat": func() error { _, err := a.Heartbeat(t.Context(), old, nil); return err }(),
		"register":  func() error { _, err := a.Register(t.Context(), old, []deployment.SignedTransport{e}); return err }(),
	} {
		if !errors.Is(err, deployment.ErrDuplicateKey) || !strings.Contains(err.Error(), "another machine, at ") {
			t.Errorf("%s of the one that was started first: %v", name, err)
		}
	}
	if unknown := a.beat(t, deployment.TransportStats{ID: e.ID}); len(unknown) != 1 {
		t.Errorf("unknown to the new instance: %v", unknown)
	}
	a.register(t, e)
	if !listed(t, b, e.ID) {
		t.Error("registered anew, and not listed")
	}
	if unknown := a.beat(t, deployment.TransportStats{ID: e.ID}); len(unknown) != 0 {
		t.Errorf("unknown: %v", unknown)
	}
}

func TestStatistics(t *testing.T) {
	r := start(t, openStore(t, ""), nil)
	a, b := r.visor(1), r.visor(2)
	e := entry(t, a, b, "stcpr", a, b)
	a.register(t, e)
	b.register(t, e)
	a.beat(t, deployment.TransportStats{ID: e.ID, RTTMicros: 10_000, LossPPM: 20_000, Mbps: 50, SentBytes: 1 << 40, RecvBytes: 7})
	b.beat(t, deployment.TransportStats{ID: e.ID, RTTMicros: 20_000, Mbps: 80})
	want := deployment.TransportStats{ID: e.ID, RTTMicros: 15_000, LossPPM: 20_000, Mbps: 50}
	shown := func() deployment.TransportStats {
		got, err := a.Transport(t.Context(), e.ID)
		if err != nil || got.Stats == nil {
			t.Fatalf("%+v, %v", got, err)
		}
		return *got.Stats
	}
	if got := shown(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// What changes by little changes no list.
	at := r.s.index.Changes()
	a.beat(t, deployment.TransportStats{ID: e.ID, RTTMicros: 11_000, LossPPM: 21_000, Mbps: 48})
	if got := shown(); got != want || r.s.index.Changes() != at {
		t.Errorf("a small change: %+v", got)
	}
	a.beat(t, deployment.TransportStats{ID: e.ID, RTTMicros: 40_000, Mbps: 48})
	if got := shown(); got.RTTMicros != 30_000 || got.LossPPM != 0 || r.s.index.Changes() == at {
		t.Errorf("a large change: %+v", got)
	}
	var m Measured
	if err := a.caller.Ask(t.Context(), r.url, "/statistics/id:"+e.ID.String(), &m); err != nil {
		t.Fatal(err)
	}
	if own := side(&m.Transport, a.pk); m.Stats[own].RTTMicros != 40_000 || m.Stats[1-own].RTTMicros != 20_000 {
		t.Errorf("measured %+v %+v", m.Stats[0], m.Stats[1])
	}
	var list []Measured
	if err := a.caller.Ask(t.Context(), r.url, "/statistics/edge:"+a.pk.String(), &list); err != nil || len(list) != 1 {
		t.Errorf("measured by a: %+v, %v", list, err)
	}
	var n Totals
	if err := a.caller.Ask(t.Context(), r.url, "/statistics", &n); err != nil || n.Visors != 2 || n.Transports != 1 || n.Halves != 2 || n.Types["stcpr"] != 1 {
		t.Errorf("totals %+v, %v", n, err)
	}
}

// More transports than a request or a record takes.
func TestMany(t *testing.T) {
	r := start(t, openStore(t, ""), func(o *Options) { o.KeyRate = 0 })
	a, b := r.visor(1), r.visor(2)
	b.beat(t)
	const n = 300
	var entries []deployment.SignedTransport
	var stats []deployment.TransportStats
	for i := range n {
		e := entry(t, a, b, fmt.Sprintf("t%d", i), a, b)
		entries = append(entries, e)
		stats = append(stats, deployment.TransportStats{ID: e.ID, RTTMicros: int64(1000 * (i + 1))})
	}
	if reply := a.register(t, entries...); len(reply.Listed) != n {
		t.Errorf("%d of %d are listed", len(reply.Listed), n)
	}
	if unknown := a.beat(t, stats...); len(unknown) != 0 {
		t.Errorf("%d are unknown", len(unknown))
	}
	list, err := b.Edge(t.Context(), b.pk)
	if err != nil || len(list) != n {
		t.Fatalf("%d are listed, %v", len(list), err)
	}
	for _, e := range list {
		if e.Stats == nil {
			t.Fatalf("no stats of %s", e.ID)
		}
	}
	for _, e := range entries[:30] {
		if err := a.Delete(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
	}
	a.register(t, entries[:10]...)
	if list, _ := b.Edge(t.Context(), b.pk); len(list) != 280 {
		t.Errorf("%d are listed, want 280", len(list))
	}
}

// A visor that falls silent is off the list, and back with its next heartbeat.
func TestSilence(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // of the service's clock and its store's
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	so := store.DefaultOptions()
	so.Now = now
	st, err := store.Open(t.Context(), "bolt://"+filepath.Join(t.TempDir(), "tpd.db"), so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	r := start(t, st, func(o *Options) { o.KeyRate, o.Now = 0, now })
	a, b := r.visor(1), r.visor(2)
	e := entry(t, a, b, "stcpr", a, b)
	a.register(t, e)
	b.register(t, e)
	if !listed(t, a, e.ID) {
		t.Fatal("not listed")
	}
	ahead.Add(int64(2 * time.Minute))
	a.beat(t)
	ahead.Add(int64(2 * time.Minute))
	servicetest.Eventually(t, "off the list", func() bool { return !listed(t, a, e.ID) })
	if unknown := b.beat(t, deployment.TransportStats{ID: e.ID}); len(unknown) != 0 {
		t.Errorf("unknown: %v", unknown)
	}
	if !listed(t, a, e.ID) {
		t.Error("not listed again")
	}
	// One that is silent for long must begin anew.
	ahead.Add(int64(time.Hour))
	for _, p := range []*person{a, b} {
		if unknown := p.beat(t, deployment.TransportStats{ID: e.ID}); len(unknown) != 1 {
			t.Errorf("unknown after an hour: %v", unknown)
		}
	}
	// While both beat, what they registered lives on.
	a.register(t, e)
	for range 40 {
		ahead.Add(int64(time.Minute))
		for _, p := range []*person{a, b} {
			p.beat(t)
		}
	}
	if !listed(t, a, e.ID) {
		t.Error("not listed after forty minutes of heartbeats")
	}
}

// What is in the store survives the service.
func TestRestart(t *testing.T) {
	st := openStore(t, "")
	first := start(t, st, nil)
	a, b := first.visor(1), first.visor(2)
	e := entry(t, a, b, "stcpr", a, b)
	a.register(t, e)
	b.register(t, e)
	a.beat(t, deployment.TransportStats{ID: e.ID, RTTMicros: 5000})
	want, err := a.Transport(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	second := start(t, st, nil)
	got, err := second.visor(3).Transport(t.Context(), e.ID)
	if err != nil || *got.Stats != *want.Stats {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Stats, want.Stats = nil, nil
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Two instances on one Redis are one service.
func TestInstances(t *testing.T) {
	server := redistest.Start(t)
	one := start(t, openStore(t, server.URL()), nil)
	two := start(t, openStore(t, server.URL()), nil)
	a, b := one.visor(1), two.visor(2)
	e := entry(t, a, b, "stcpr", a)
	a.register(t, e)
	b.register(t, entry(t, a, b, "stcpr", b))
	for name, p := range map[string]*person{"one": a, "two": b} {
		servicetest.Eventually(t, "listed by "+name, func() bool { return listed(t, p, e.ID) })
	}
	// Both write for one key by turns.
	elsewhere := two.visor(1)
	elsewhere.in = a.in
	for range 5 {
		for _, p := range []*person{a, elsewhere} {
			if unknown := p.beat(t, deployment.TransportStats{ID: e.ID}); len(unknown) != 0 {
				t.Fatalf("unknown: %v", unknown)
			}
		}
	}
	if err := b.Delete(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, "gone at the other", func() bool { return !listed(t, a, e.ID) })
}

func TestMonitors(t *testing.T) {
	var r *rig
	m := (&rig{t: t}).visor(9)
	r = start(t, openStore(t, ""), func(o *Options) { o.Monitors = []cipher.PubKey{m.pk} })
	m = r.visor(9)
	a, b := r.visor(1), r.visor(2)
	e := entry(t, a, b, "stcpr", a, b)
	a.register(t, e)
	b.register(t, e)
	ids := []deployment.TransportID{e.ID, {1}}
	if err := a.caller.Do(t.Context(), "DELETE", r.url, "/transports/deregister", ids, nil); !errors.Is(err, deployment.ErrForbidden) {
		t.Errorf("by one that is none: %v", err)
	}
	// As deployed monitors do it.
	sig, _ := cipher.Sign(m.sk, []byte(m.pk.String()))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, r.url+"/transports/deregister", strings.NewReader(`["`+e.ID.String()+`"]`))
	req.Header.Set("NM-PK", m.pk.String())
	req.Header.Set("NM-Sign", sig.String())
	resp, err := r.rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !listed(t, a, e.ID) {
		t.Errorf("by what can be replayed: %d", resp.StatusCode)
	}
	if err := m.caller.Do(t.Context(), "DELETE", r.url, "/transports/deregister", ids, nil); err != nil || listed(t, a, e.ID) {
		t.Errorf("by a monitor: %v", err)
	}
}

func TestLimits(t *testing.T) {
	r := start(t, openStore(t, ""), func(o *Options) { o.KeyRate, o.KeyBurst, o.MaxHalves = 1e-6, 3, 2 })
	a, b, c := r.visor(1), r.visor(2), r.visor(3)
	a.register(t, entry(t, a, b, "a", a), entry(t, a, b, "b", a))
	if _, err := b.Register(t.Context(), b.in, []deployment.SignedTransport{entry(t, b, c, "a", b)}); !errors.Is(err, deployment.ErrUnavailable) {
		t.Errorf("without room: %v", err)
	}
	a.register(t, entry(t, a, b, "a", a))
	a.beat(t)
	if _, err := a.Heartbeat(t.Context(), a.in, nil); !errors.Is(err, deployment.ErrRate) {
		t.Errorf("too often: %v", err)
	}
	c.beat(t)
}

func TestOptions(t *testing.T) {
	o := DefaultOptions()
	o.Verifier = httpauth.NewVerifier(httpauth.Options{})
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if err := (Options{}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("all faults: %v", err)
	}
}
