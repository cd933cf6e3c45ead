package routefinder

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/services/transportdisc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

// A rig is a transport discovery and two route finders: /rf in its process and, as if
// in another, /alone over the same store.
type rig struct {
	url string
	rt  *http.Transport
	tpd *transportdisc.Service
	in  deployment.Instance
}

func start(t *testing.T) *rig {
	t.Helper()
	st := servicetest.Open(t, "", time.Now)
	to := transportdisc.DefaultOptions()
	to.Verifier = httpauth.NewVerifier(httpauth.Options{})
	tpd, err := transportdisc.New(st, to)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	alone, err := New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Index = tpd.Index()
	rf, err := New(nil, o)
	if err != nil {
		t.Fatal(err)
	}
	url := servicetest.Serve(t,
		httpd.Mount{Name: "tpd", Prefix: "/tpd", Service: tpd}, httpd.Mount{Name: "rf", Prefix: "/rf", Service: rf}, httpd.Mount{Name: "alone", Prefix: "/alone", Service: alone})
	rt := deployment.NewRoundTripper(nil)
	t.Cleanup(rt.CloseIdleConnections)
	return &rig{url, rt, tpd, deployment.NewInstance(time.Now())}
}

func keys(n byte) (cipher.PubKey, cipher.SecKey) {
	sk := cipher.SecKey{31: n}
	pk, err := sk.PubKey()
	if err != nil {
		panic(err)
	}
	return pk, sk
}

func (r *rig) caller(n byte) *deployment.Caller {
	_, sk := keys(n)
	return deployment.NewCaller(sk, r.rt, zerolog.Nop())
}

// connect registers a transport by both its edges, with a round trip of ms.
func (r *rig) connect(t *testing.T, a, b byte, typ string, ms int64) deployment.TransportID {
	t.Helper()
	pa, ska := keys(a)
	pb, skb := keys(b)
	e := deployment.SignedTransport{Transport: deployment.NewTransport(pa, pb, typ, deployment.LabelUser)}
	for _, sk := range []cipher.SecKey{ska, skb} {
		sig, err := cipher.Sign(sk, e.SignedBytes())
		if err != nil {
			t.Fatal(err)
		}
		pk, _ := sk.PubKey()
		for i := range e.Edges {
			if e.Edges[i] == pk {
				e.Signatures[i] = sig
			}
		}
	}
	for _, n := range []byte{a, b} {
		c := deployment.NewTransportDiscovery(r.url+"/tpd", r.caller(n))
		if _, err := c.Register(t.Context(), r.in, []deployment.SignedTransport{e}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Heartbeat(t.Context(), r.in, []deployment.TransportStats{{ID: e.ID, RTTMicros: 1000 * ms}}); err != nil {
			t.Fatal(err)
		}
	}
	return e.ID
}

// ways renders paths by the numbers of their keys.
func ways(ps []graph.Path) (out []string) {
	num := func(pk cipher.PubKey) byte {
		for n := byte(1); n < 20; n++ {
			if k, _ := keys(n); k == pk {
				return n
			}
		}
		return 0
	}
	for _, p := range ps {
		s := fmt.Sprint(num(p.Hops[0].From))
		for _, h := range p.Hops {
			s += fmt.Sprint(" ", num(h.To))
		}
		out = append(out, s)
	}
	return out
}

func TestPaths(t *testing.T) {
	r := start(t)
	r.connect(t, 1, 2, "stcpr", 10)
	r.connect(t, 2, 4, "stcpr", 10)
	slow := r.connect(t, 1, 3, "sudph", 40)
	r.connect(t, 3, 4, "sudph", 40)
	r.connect(t, 1, 4, "dmsg", 400)
	a, _ := keys(1)
	two, _ := keys(2)
	d, _ := keys(4)
	far, _ := keys(9)
	tests := []struct {
		name string
		q    graph.Query
		want string
	}{
		{"one", graph.Query{}, "[1 2 4]"},
		{"all", graph.Query{K: 5}, "[1 2 4 1 3 4 1 4]"},
		{"two hops", graph.Query{K: 5, MinHops: 2}, "[1 2 4 1 3 4]"},
		{"one hop", graph.Query{MaxHops: 1}, "[1 4]"},
		{"avoid", graph.Query{Avoid: []cipher.PubKey{two}}, "[1 3 4]"},
		{"types", graph.Query{Types: []string{"sudph"}}, "[1 3 4]"},
		{"none", graph.Query{MinHops: 3}, "[]"},
		{"nobody", graph.Query{To: far}, "[]"},
	}
	for _, where := range []string{"/rf", "/alone"} {
		rf := deployment.NewRouteFinder(r.url+where, r.caller(7))
		ask := func(q graph.Query) string {
			if q.From = a; q.To.IsZero() {
				q.To = d
			}
			ps, err := rf.Paths(t.Context(), q)
			if err != nil && !errors.Is(err, deployment.ErrNotFound) {
				t.Fatal(err)
			}
			return fmt.Sprint(ways(ps))
		}
		servicetest.Eventually(t, "the graph at "+where, func() bool { return ask(graph.Query{K: 5}) == "[1 2 4 1 3 4 1 4]" })
		for _, tt := range tests {
			if got := ask(tt.q); got != tt.want {
				t.Errorf("%s, %s: got %s, want %s", where, tt.name, got, tt.want)
			}
		}
	}
	if err := deployment.NewTransportDiscovery(r.url+"/tpd", r.caller(3)).Delete(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"/rf", "/alone"} {
		rf := deployment.NewRouteFinder(r.url+where, r.caller(7))
		servicetest.Eventually(t, "deleted at "+where, func() bool {
			ps, err := rf.Paths(t.Context(), graph.Query{From: a, To: d, K: 5})
			return err == nil && fmt.Sprint(ways(ps)) == "[1 2 4 1 4]"
		})
	}
}

// The wire as deployed visors know it.
func TestDeployedVisor(t *testing.T) {
	r := start(t)
	id := r.connect(t, 1, 2, "stcpr", 10)
	a, _ := keys(1)
	b, _ := keys(2)
	ab, ba := a.String()+":"+b.String(), b.String()+":"+a.String()
	for _, opts := range []string{`null`, `{"MinHops":1,"MaxHops":50}`} {
		_, body := post(t, r, `{"Edges":["`+ab+`","`+ba+`"],"Opts":`+opts+`}`)
		for _, want := range []string{
			`"` + ab + `":[[{"TpID":"` + id.String() + `","From":"` + a.String() + `","To":"` + b.String() + `"`,
			`"` + ba + `":[[{"TpID":"` + id.String() + `","From":"` + b.String() + `","To":"` + a.String() + `"`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("opts %s: %s lacks %s", opts, body, want)
			}
		}
	}
	for body, want := range map[string]int{
		`{"Edges":["` + ab + `"],"Opts":{"MinHops":2}}`:                                 404,
		`{"Edges":["` + ab + `","` + a.String() + `:` + strings.Repeat("0", 66) + `"]}`: 400,
		`{"Edges":["` + a.String() + `:` + a.String() + `"]}`:                           400,
		`{"Edges":[]}`: 400,
		`{}`:           400,
		``:             400,
		`[`:            400,
		`{"Edges":["` + ab + `"],"Opts":{"K":17}}`:                                         400,
		`{"Edges":["` + ab + `"],"Opts":{"MinHops":-1}}`:                                   400,
		`{"Edges":["` + ab + `"],"Opts":{"MinHops":3,"MaxHops":2}}`:                        400,
		`{"Edges":["` + ab + `"],"Opts":{"Types":["` + strings.Repeat(`","`, 20) + `"]}}`:  400,
		`{"Edges":["` + strings.Repeat(ab+`","`, 8) + ab + `"]}`:                           400,
		`{"Edges":["` + ab + `"],"Opts":{"Avoid":["` + b.String() + `"],"Disjoint":true}}`: 200,
	} {
		if got, answer := post(t, r, body); got != want {
			t.Errorf("%s: %d %s, want %d", body, got, answer, want)
		}
	}
}

func post(t *testing.T, r *rig, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/rf/routes", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

func TestOnlyDisjoint(t *testing.T) {
	path := func(ns ...byte) (p graph.Path) {
		for i := range ns[1:] {
			a, _ := keys(ns[i])
			b, _ := keys(ns[i+1])
			p.Hops = append(p.Hops, graph.Hop{From: a, To: b})
		}
		return p
	}
	q := query{disjoint: true}
	got := fmt.Sprint(ways(q.only([]graph.Path{path(1, 2, 9), path(1, 9), path(1, 3, 2, 9), path(1, 9), path(1, 3, 4, 9)})))
	if want := "[1 2 9 1 9 1 3 4 9]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Where all places are taken, who waits is told so, in time.
func TestPlaces(t *testing.T) {
	o := DefaultOptions()
	o.Places, o.Wait = 1, time.Millisecond
	s, err := New(nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.enter(); err != nil {
		t.Fatal(err)
	}
	if err := s.enter(); !errors.Is(err, deployment.ErrUnavailable) {
		t.Errorf("no place: %v", err)
	}
	if err := (Options{}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("all faults: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	a, _ := keys(1)
	b, _ := keys(2)
	f.Add([]byte(`{"Edges":["` + a.String() + `:` + b.String() + `"],"Opts":{"MinHops":1,"MaxHops":50,"K":3,"Avoid":["` + b.String() + `"],"Types":["x"]}}`))
	f.Add([]byte(`{"Edges":["x"],"Opts":null}`))
	f.Add([]byte(`{}`))
	g := graph.New()
	g.Set(graph.Edge{ID: graph.TransportID{1}, A: a, B: b, Type: "x", Cost: 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		qs, err := parse(body)
		if err != nil && !errors.Is(err, deployment.ErrBadRequest) {
			t.Errorf("refused with %v", err)
		}
		for _, q := range qs {
			if n := len(q.only(g.Paths(q.Query))); n > 1 {
				t.Errorf("%d paths where there is one", n)
			}
		}
	})
}
