package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestResolveReply(t *testing.T) {
	tests := []struct {
		name string
		r    ResolveReply
		want string // "": an error
	}{
		{"ours", ResolveReply{"1.2.3.4:5", "5", []string{"10.0.0.1", "::1"}}, "1.2.3.4:5 [10.0.0.1:5 [::1]:5]"},
		{"deployed", ResolveReply{"1.2.3.4", "7777", []string{"10.0.0.1", "nonsense"}}, "1.2.3.4:7777 [10.0.0.1:7777]"},
		{"addresses with ports", ResolveReply{"[2001:db8::1]:5", "", []string{"10.0.0.1:6"}}, "[2001:db8::1]:5 [10.0.0.1:6]"},
		{"mapped", ResolveReply{"::ffff:1.2.3.4", "5", nil}, "1.2.3.4:5 []"},
		{"no port", ResolveReply{"1.2.3.4", "", nil}, ""},
		{"port 0", ResolveReply{"1.2.3.4:0", "0", nil}, ""},
		{"no address", ResolveReply{"x", "5", nil}, ""},
		{"nothing", ResolveReply{}, ""},
	}
	for _, tt := range tests {
		got, err := tt.r.Record()
		if text := fmt.Sprint(got.RemoteAddr, " ", got.Addresses); tt.want == "" && !errors.Is(err, ErrAnswer) || tt.want != "" && (err != nil || text != tt.want) {
			t.Errorf("%s: %s, %v, want %q", tt.name, text, err, tt.want)
		}
	}
}

// A registration or heartbeat of more than a request takes goes in parts.
func TestParts(t *testing.T) {
	var sizes []int
	url, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var rq struct {
			Instance string            `json:"instance"`
			Started  int64             `json:"started"`
			Entries  []SignedTransport `json:"entries"`
			Stats    []TransportStats  `json:"stats"`
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &rq); err != nil || len(body) > 64<<10 || len(rq.Instance) != 16 || rq.Started == 0 {
			t.Errorf("%d bytes, %v: %.200s", len(body), err, body)
		}
		sizes = append(sizes, len(rq.Entries)+len(rq.Stats))
		_, _ = io.WriteString(w, `{"ttl":180,"listed":["30461d17-c78a-0dc8-9f55-c4f06d82c1d6"],"unknown":["30461d17-c78a-0dc8-9f55-c4f06d82c1d6"]}`)
	})
	tpd, in := NewTransportDiscovery(url+"/", c), NewInstance(time.Now())
	a, b := specKeys(t)
	e := SignedTransport{Transport: NewTransport(a, b, "abcdefghijklmnop", "abcdefghijklmnop"), Registered: 1 << 40, Stats: &TransportStats{RTTMicros: 1 << 40, Mbps: 1e20}}
	entries := make([]SignedTransport, 2*MaxRegister+1)
	for i := range entries {
		entries[i] = e
	}
	if r, err := tpd.Register(t.Context(), in, entries); err != nil || r.TTL != 180 || len(r.Listed) != 3 {
		t.Errorf("register: %+v, %v", r, err)
	}
	stats := make([]TransportStats, MaxHeartbeat+5)
	for i := range stats {
		stats[i] = TransportStats{RTTMicros: 1 << 40, LossPPM: 1e6, Mbps: 1e20, SentBytes: 1 << 63, RecvBytes: 1 << 63}
	}
	if unknown, err := tpd.Heartbeat(t.Context(), in, stats); err != nil || len(unknown) != 2 {
		t.Errorf("heartbeat: %v, %v", unknown, err)
	}
	if _, err := tpd.Heartbeat(t.Context(), in, nil); err != nil {
		t.Errorf("heartbeat of nothing: %v", err)
	}
	if want := fmt.Sprint([]int{MaxRegister, MaxRegister, 1, MaxHeartbeat, 5, 0}); fmt.Sprint(sizes) != want {
		t.Errorf("parts of %v, want %s", sizes, want)
	}
}

func TestAllIsConditional(t *testing.T) {
	url, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"x"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		answer(200, "Etag", `"x"`, "null")(w, r)
	})
	tpd := NewTransportDiscovery(url, c)
	if list, tag, err := tpd.All(t.Context(), ""); list == nil || len(list) != 0 || tag != `"x"` || err != nil {
		t.Errorf("%v, %q, %v", list, tag, err)
	}
	if list, tag, err := tpd.All(t.Context(), `"x"`); list != nil || tag != `"x"` || err != nil {
		t.Errorf("again: %v, %q, %v", list, tag, err)
	}
}

// A route finder that lies is found out where that can be.
func TestRouteFinderAnswers(t *testing.T) {
	a, _ := keys(1)
	b, _ := keys(2)
	x, _ := keys(3)
	hop := func(from, to cipher.PubKey) string {
		return `{"TpID":"30461d17-c78a-0dc8-9f55-c4f06d82c1d6","From":"` + from.String() + `","To":"` + to.String() + `"}`
	}
	pair := `"` + a.String() + ":" + b.String() + `"`
	for name, tt := range map[string]struct {
		paths string
		hops  int // of the first path; 0: an error
	}{
		"direct":          {`[[` + hop(a, b) + `]]`, 1},
		"two, one wanted": {`[[` + hop(a, x) + `,` + hop(x, b) + `],[` + hop(a, b) + `]]`, 2},
		"elsewhere":       {`[[` + hop(a, x) + `]]`, 0},
		"of another":      {`[[` + hop(x, b) + `]]`, 0},
		"broken":          {`[[` + hop(a, x) + `,` + hop(a, b) + `]]`, 0},
		"a loop":          {`[[` + hop(a, x) + `,` + hop(x, a) + `,` + hop(a, b) + `]]`, 0},
		"through the end": {`[[` + hop(a, b) + `,` + hop(b, x) + `]]`, 0},
		"none":            {`[]`, 0},
		"an empty one":    {`[[]]`, 0},
	} {
		url, c := serve(t, answer(200, "", "", `{`+pair+`:`+tt.paths+`}`))
		ps, err := NewRouteFinder(url, c).Paths(t.Context(), graph.Query{From: a, To: b})
		if tt.hops == 0 && err == nil || tt.hops > 0 && (err != nil || len(ps) != 1 || len(ps[0].Hops) != tt.hops) {
			t.Errorf("%s: %+v, %v", name, ps, err)
		}
	}
}

// What the other clients send.
func TestRequests(t *testing.T) {
	a, _ := keys(1)
	var got string
	url, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		signed := ""
		if r.Header.Get(HeaderSig) != "" {
			signed = " signed"
		}
		got = r.Method + " " + r.URL.RequestURI() + " " + string(body) + signed
		if strings.HasPrefix(r.URL.Path, "/api/services") && r.Method == http.MethodGet || r.URL.Path == "/uptimes" {
			_, _ = io.WriteString(w, "[]")
			return
		}
		_, _ = io.WriteString(w, "{}")
	})
	ar, sd, ut := NewAddressResolver(url, c), NewServiceDiscovery(url, c), NewUptimeTracker(url, c)
	in := Instance{"0123456789abcdef", 7}
	addr := ServiceAddr{a, 3}
	ctx := t.Context()
	for _, tt := range []struct {
		want string
		call func() error
	}{
		{`POST /bind/stcpr {"port":"80","addresses":[],"instance":"0123456789abcdef","started":7} signed`, func() error { _, err := ar.Bind(ctx, in, Bind{Port: 80}); return err }},
		{`DELETE /bind/stcpr {} signed`, func() error { return ar.Unbind(ctx) }},
		{`GET /transports `, func() error { _, err := ar.Transports(ctx); return err }},
		{`GET /api/services?country=DE&quantity=3&type=vpn&version=v1 `, func() error { _, err := sd.Services(ctx, Filter{"vpn", "v1", "DE", 3}); return err }},
		{`GET /api/services?type=visor `, func() error { _, err := sd.Services(ctx, Filter{Type: "visor"}); return err }},
		{`POST /api/services {"address":"` + addr.String() + `","type":"vpn"} signed`, func() error { _, err := sd.Register(ctx, Service{Address: addr, Type: "vpn"}); return err }},
		{`DELETE /api/services/` + addr.String() + `?type=vpn  signed`, func() error { return sd.Delete(ctx, addr, "vpn") }},
		{`GET /v4/update?instance=0123456789abcdef&started=7&version=v1  signed`, func() error { return ut.Update(ctx, in, "v1") }},
		{`GET /uptimes `, func() error { _, err := ut.Uptimes(ctx, UptimeQuery{}); return err }},
		{`GET /uptimes?startDate=2026-01&status=on&v=v2&visors=` + a.String() + ` `, func() error {
			_, err := ut.Uptimes(ctx, UptimeQuery{Visors: []cipher.PubKey{a}, Status: "on", Daily: true, Start: "2026-01"})
			return err
		}},
	} {
		if err := tt.call(); err != nil && !strings.Contains(err.Error(), "resolve") {
			t.Errorf("%s: %v", tt.want, err)
		}
		if got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if _, err := ar.Resolve(ctx, a); !errors.Is(err, ErrAnswer) || got != "GET /resolve/stcpr/"+a.String()+"  signed" {
		t.Errorf("resolve: %v, %s", err, got)
	}
}

func TestServiceAddr(t *testing.T) {
	a, _ := keys(1)
	if got, err := ParseServiceAddr(a.String() + ":80"); err != nil || got != (ServiceAddr{a, 80}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", ":80", a.String(), a.String() + ":", a.String() + ":0", a.String() + ":65536", "x:80"} {
		if got, err := ParseServiceAddr(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}
