package ctl

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestNetworkCommands: what the commands about deployments ask the visor for.
func TestNetworkCommands(t *testing.T) {
	a, b := pk(t, k1), pk(t, k2)
	policy := api.RoutePolicy{MinHops: 3, MaxHops: 5, MuxRoutes: 2, Avoid: []cipher.PubKey{b}}
	const flags = " --min-hops 3 --max-hops 5 --mux-routes 2 --avoid " + k2 + " "
	tests := []struct {
		args string
		want any
		save bool
		out  string
	}{
		{"transport add " + k1, api.TransportSpec{PK: a}, false, "VISOR"},
		{"transport add --save --type stcpr --label x " + k1, api.TransportSpec{PK: a, Type: api.STCPR, Label: "x"}, true, "VISOR"},
		{"transport rm 90aba565-c7e8-015d-a2bd-b869e378a573", api.TransportID{ID: "90aba565-c7e8-015d-a2bd-b869e378a573"}, false, "removed"},
		{"transport rm --save --type dmsg " + k2, api.TransportID{PK: b, Type: api.DMSG}, true, "removed, from"},
		{"transport auto off --save", false, true, "automatic transports are"},
		{"route find" + flags + "-n 7 --finder local " + k1, api.FindSpec{PK: a, Policy: policy, Count: 7, Finder: api.FinderLocal}, false, "no path"},
		{"route add" + flags + k1, api.ConnectSpec{PK: a, Policy: policy}, false, "reached directly"},
		{"route rm " + k1, a, false, "removed"},
		{"route trace " + k1, api.ConnectSpec{PK: a}, false, "no hops"},
		{"services transports " + k1, api.ServiceQuery{PK: a}, false, "DEPLOYMENT"},
		{"services routes " + k1, api.FindSpec{PK: a, Count: 3, Finder: api.FinderService}, false, "no path"},
		{"services ar --deployment lab " + k1, api.ServiceQuery{PK: a, Deployment: "lab"}, false, "DEPLOYMENT"},
		{"services sd vpn --country IS -n 4", api.OfferQuery{Type: "vpn", Country: "IS", Count: 4}, false, "DEPLOYMENT"},
		{"services uptime", api.ServiceQuery{}, false, "DEPLOYMENT"},
		{"visor halt", "halt", false, "the visor stops"},
		{"visor log-level warn", "warn", false, "the visor logs warn"},
		{"forward add --reach " + k1 + ":5 --local 127.0.0.1:5 --min-hops 3 --mux-routes 2", api.ForwardSpec{Reach: k1 + ":5", Local: "127.0.0.1:5", Route: &api.RoutePolicy{MinHops: 3, MuxRoutes: 2}}, false, "added tcp:127.0.0.1:5"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			v := &visor{}
			code, out, errs := run(append([]string{"--socket", serve(t, v)}, strings.Fields(tt.args)...)...)
			if code != 0 || errs != "" {
				t.Fatalf("exit %d: %s", code, errs)
			}
			got, want := asJSON(t, v.got), asJSON(t, tt.want)
			if got != want || v.save != tt.save || !strings.HasPrefix(out, tt.out) {
				t.Errorf("called with %s, save %v, printed %q; want %s, %v, %q", got, v.save, out, want, tt.save, tt.out)
			}
		})
	}
}

// passer notes to whom a call goes.
type passer struct {
	visor
	to   cipher.PubKey
	call api.Call
}

func (p *passer) Pass(_ context.Context, to cipher.PubKey, c api.Call) (api.Answer, error) {
	p.to, p.call = to, c
	return api.Answer{Status: http.StatusOK, Body: []byte("[]")}, nil
}

// TestOtherVisor: --visor, before or after the command, has the call passed on.
func TestOtherVisor(t *testing.T) {
	v := &passer{}
	socket := serve(t, v)
	for _, args := range [][]string{{"--visor", k2, "link", "ls"}, {"link", "ls", "--visor", k2}} {
		v.to = cipher.PubKey{}
		code, out, errs := run(append([]string{"--socket", socket}, args...)...)
		if code != 0 || !strings.HasPrefix(out, "no links") || v.to != pk(t, k2) || v.call.Path != "/v1/links" || v.call.Method != http.MethodGet {
			t.Errorf("%q: exit %d, %s%s; passed %+v to %s", args, code, out, errs, v.call, v.to)
		}
	}
	if code, _, errs := run("--socket", socket, "--visor", "x", "status"); code != ExitUsage || !strings.Contains(errs, "is no public key") {
		t.Errorf("a bad key: %d, %s", code, errs)
	}
}

// TestNetworkTables compares with what somebody has looked at.
func TestNetworkTables(t *testing.T) {
	a, b := pk(t, k1), pk(t, k2)
	since := time.Now().Add(-90 * time.Second)
	path := api.Path{PK: b, Hops: []api.PathHop{{To: a, Type: api.STCPR}, {From: a, To: b, Type: api.SUDPH}}, Cost: 12.34, State: api.PathUp, Class: 0xbeef, RTTMicros: 12_340, LossPPM: 5000, Mbps: 94.2, Since: &since}
	socket := serve(t, &visor{
		paths:  []api.Path{path},
		routes: []api.Route{{Kind: api.RouteForward}, {Kind: api.RouteEnd}, {Kind: api.RouteDirect}},
		trace:  []api.TraceHop{{Hop: 1, PK: a, Type: api.STCPR, RTTMicros: 4200}, {Hop: 2, PK: b, Type: api.SUDPH, RTTMicros: 12_340}},
		transports: []api.Transport{
			{ID: "90aba565-c7e8-015d-a2bd-b869e378a573", PK: a, Type: api.STCPR, State: api.LinkUp, Since: &since, RTTMicros: 412, LossPPM: 100, Mbps: 7.25, RecvBytes: 2048, SentBytes: 1, Why: "automatic", Registered: []string{"lab"}, Addr: "192.0.2.7:7777", Label: "automatic"},
			{ID: "6b72e8b0-0e43-0683-8499-f4384524602a", PK: b, Type: api.DMSG, State: api.LinkConnecting, Why: "needed", LastError: "no relay\x1b[2J"},
		},
		report: api.Report{Checks: []api.Check{
			{Name: "clock", Verdict: api.CheckFail, Text: "24h behind", Advice: "set it"},
			{Name: "relays", Verdict: api.CheckOK, Text: "2 connected"},
			{Name: "NAT", Verdict: api.CheckWarn, Text: "symmetric"},
			{Name: "packet size", Verdict: api.CheckSkip, Text: "no link"},
		}},
		reloaded: api.Reloaded{Applied: []string{"transport.auto"}, Restart: []string{"workers"}, Failed: []string{"forward tcp:80: in use"}},
	})
	tests := []struct {
		args string
		code int
		want string
	}{
		{"transport", 0, `
VISOR                                                               TYPE   STATE       FOR    RTT      LOSS    MBIT/S  RECEIVED  SENT  WHY        REGISTERED IN
0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798  stcpr  up          1m30s  0.41 ms  0.01 %  7.2     2.00 KiB  1 B   automatic  lab
  └ 90aba565-c7e8-015d-a2bd-b869e378a573, at 192.0.2.7:7777, "automatic"
02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5  dmsg   connecting  –      –        0 %     –       0 B       0 B   needed     –
  └ 6b72e8b0-0e43-0683-8499-f4384524602a
  └ no relay?[2J
`},
		{"transport types", 0, `
TYPE   AVAILABLE
stcpr  yes        TCP
dmsg   no         no relay is connected
`},
		{"transport auto", 0, `
automatic transports are on
  stcpr 1
  sudph 2
this visor is to be a public one and is not listed as such: nobody gets in
`},
		{"route", 0, `
TO                                                                  CLASS  HOPS  STATE  FOR    RTT      LOSS   MBIT/S
02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5  48879  2     up     1m30s  12.3 ms  0.5 %  94
  └ stcpr 0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798
  └ sudph 02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5
routes of others pass here by 1 rules; --all lists them
`},
		{"route find " + k2, 0, `
PATH  HOPS  COST  BY
1     2     12.3  stcpr, sudph
  └ stcpr 0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798
  └ sudph 02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5
`},
		{"route trace " + k2, 0, `
HOP  VISOR                                                               BY     RTT      MORE
1    0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798  stcpr  4.20 ms  –
2    02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5  sudph  12.3 ms  +8.14 ms
`},
		{"services", 0, `
DEPLOYMENT  SERVICE              STATE  RTT      VERSION  URL
lab         transport discovery  ok     1.20 ms  v2       http://h/tpd
lab         route finder         down   –        –        http://h/rf
  └ no answer within 5s
`},
		{"services ar " + k1, 0, `
DEPLOYMENT  VISOR                                                               SEEN AT         ITS OWN ADDRESSES
lab         0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798  192.0.2.1:7777  10.0.0.1:7777
`},
		{"services sd", 0, `
DEPLOYMENT  ADDRESS                                                                VERSION  COUNTRY  REGION
lab         0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:80  –        IS       –
`},
		{"doctor", ExitFailed, `
FAIL  clock        24h behind
                   → set it
ok    relays       2 connected
WARN  NAT          symmetric
–     packet size  no link

1 of 4 checks failed
`},
		{"visor reload", ExitFailed, `
in force         transport.auto
after a restart  workers
does not work    forward tcp:80: in use
`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, out, errs := run(append([]string{"--socket", socket}, strings.Fields(tt.args)...)...)
			if code != tt.code || (errs == "") != (code == 0) || "\n"+out != tt.want {
				t.Errorf("exit %d, %s\ngot:\n%s\nwant:%s", code, errs, out, tt.want)
			}
			_, out, _ = run(append([]string{"--socket", socket, "--json"}, strings.Fields(tt.args)...)...)
			if !json.Valid([]byte(out)) {
				t.Errorf("--json prints %q", out)
			}
		})
	}
}

// bootstrap serves a deployment's configuration, signed by its key.
func bootstrap(t *testing.T, name string, servers ...string) (url string, key cipher.PubKey) {
	t.Helper()
	id, sk := cipher.GenerateKeyPair()
	setup, _ := cipher.GenerateKeyPair()
	body, err := json.Marshal(deployment.Conf{
		ID: id, Name: name, DmsgDiscovery: "http://dmsgd.example.com", TransportDiscovery: "http://tpd.example.com",
		SetupNodes: []cipher.PubKey{setup}, STUNServers: []string{"stun.example.com:3478"}, DmsgServers: append([]string{}, servers...),
	})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := cipher.Sign(sk, body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := sig.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(deployment.HeaderSig, string(text))
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.URL, id
}

// TestConfigGen: every switch ends where it belongs, and regenerating keeps what was
// there.
func TestConfigGen(t *testing.T) {
	one, oneKey := bootstrap(t, "one", k1+"@relay.example.com:8081")
	two, twoKey := bootstrap(t, "two")
	file := filepath.Join(t.TempDir(), config.FileName)
	gen := func(args ...string) (int, string, string) {
		return run(append([]string{"config", "gen", "--out", file}, args...)...)
	}
	load := func() config.Config {
		t.Helper()
		c, _, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	code, out, errs := gen("--deployment", one, "--deployment-key", oneKey.String(), "--deployment", strings.TrimPrefix(two, "http://"),
		"--public", "--listen-udp", "127.0.0.1:1", "--listen-tcp", "127.0.0.1:2", "--min-hops", "3", "--max-hops", "5", "--mux-routes", "2", "--avoid", k1, "--prefer", k2,
		"--no-transit", "--accept", k1, "--accept", k2, "--no-auto-transports", "--local-paths", "--manage-allow", k2, "--dmsg-server", k2+"@192.0.2.1:8081",
		"--setup-node", k1, "--metrics", "127.0.0.1:9", "--persistent", k1, "--log-level", "warn", "--dmsg-sessions", "4", "--run-setup-node", "--run-dmsg-server", "198.51.100.1:8081")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	relayKey, err := cipher.LoadSecKey(filepath.Join(filepath.Dir(file), config.RelayKeyFileName))
	if err != nil {
		t.Fatal(err)
	}
	relay, _ := relayKey.PubKey()
	own := relay.String() + "@198.51.100.1:8081"
	for _, want := range []string{"\"one\"", oneKey.String(), "\"two\"", twoKey.String(), "believed this once", "--dmsg-server " + own, "--setup-node "} {
		if !strings.Contains(out, want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
	if strings.Count(out, "believed this once") != 1 {
		t.Errorf("a pinned deployment is believed, too:\n%s", out)
	}
	c := load()
	if len(c.Deployments) != 2 || c.Deployments[0].ID != oneKey || c.Deployments[1].ID != twoKey {
		t.Fatalf("deployments: %+v", c.Deployments)
	}
	if got, want := c.Deployments[0].DmsgServers, []string{k1 + "@relay.example.com:8081", k2 + "@192.0.2.1:8081", own}; !slices.Equal(got, want) || len(c.Deployments[1].DmsgServers) != 0 {
		t.Errorf("relays: %q and %q, want %q in the first", got, c.Deployments[1].DmsgServers, want)
	}
	got := asJSON(t, []any{c.ListenUDP, c.ListenTCP, c.Transit.Allow, c.Transport, c.Routing, c.Management, c.DmsgServer, c.SetupNode, c.Metrics, c.LogLevel, c.DmsgSessions})
	want := `["127.0.0.1:1","127.0.0.1:2",false,` +
		`{"accept":"list","allow":["` + k1 + `","` + k2 + `"],"auto":false,"public":true,"persistent":[{"pk":"` + k1 + `"}]},` +
		`{"min_hops":3,"max_hops":5,"mux_routes":2,"avoid":["` + k1 + `"],"prefer":["` + k2 + `"],"path_finder":"local","setup_nodes":["` + k1 + `"]},` +
		`{"allow":["` + k2 + `"]},{"listen":"[::]:8081","public_address":"198.51.100.1:8081","secret_key_file":"relay.key"},true,{"addr":"127.0.0.1:9"},"warn",4]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	// Regenerated: keys, lists and deployments stay, switches do not.
	if err := config.Update(file, func(c *config.Config) {
		c.Links = []api.LinkSpec{{PK: pk(t, k1), Type: api.SUDPH, Addr: "192.0.2.1:7"}}
		c.Forwards = []api.ForwardSpec{{Expose: "localhost:80", Port: 80, Public: true}}
	}); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(filepath.Dir(file), config.KeyFileName))
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs = gen("--force")
	if code != 0 || !strings.Contains(out, "kept 1 links") || !strings.Contains(out, "kept 1 forwards") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	c = load()
	if len(c.Links) != 1 || len(c.Forwards) != 1 || len(c.Transport.Persistent) != 1 || len(c.Management.Allow) != 1 || len(c.Deployments) != 2 || c.Transport.Public || c.LogLevel != "info" {
		t.Errorf("after --force: %+v", c)
	}
	if code, _, errs := gen("--force", "--fresh", "--deployment", two); code != 0 {
		t.Fatalf("--fresh: %s", errs)
	}
	c = load()
	if len(c.Links)+len(c.Forwards)+len(c.Transport.Persistent) != 0 || len(c.Deployments) != 1 {
		t.Errorf("after --fresh: %+v", c)
	}
	if again, _ := os.ReadFile(filepath.Join(filepath.Dir(file), config.KeyFileName)); string(again) != string(key) {
		t.Error("regenerating changed the key")
	}

	// A broken file is not thrown away unasked.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := gen("--force"); code != ExitFailed || !strings.Contains(errs, "--fresh begins anew") {
		t.Errorf("over a broken file: %d %s", code, errs)
	}
	if code, _, errs := gen("--force", "--fresh"); code != 0 {
		t.Errorf("--fresh over a broken file: %s", errs)
	}
}

func TestConfigGenErrors(t *testing.T) {
	url, _ := bootstrap(t, "lab")
	file := filepath.Join(t.TempDir(), config.FileName)
	tests := []struct {
		args string
		code int
		want string
	}{
		{"--deployment " + url + " --deployment-key " + k1, ExitFailed, "is of deployment"},
		{"--deployment 127.0.0.1:1", ExitFailed, "the deployment at http://127.0.0.1:1: "},
		{"--deployment-key " + k1, ExitUsage, "--deployment-key is given more often than --deployment"},
		{"--fresh", ExitUsage, "--fresh belongs to --force"},
		{"--min-hops 17", ExitUsage, "--min-hops: is 17; want 0 to 16"},
		{"--min-hops 5 --max-hops 3", ExitUsage, "--max-hops: is 3, less than min-hops, which is 5"},
		{"--dmsg-server nowhere", ExitUsage, "want the relay's key and address"},
		{"--run-dmsg-server nowhere", ExitFailed, "want the host and port"},
		{"--run-dmsg-server-at [::]:1", ExitUsage, "belongs to --run-dmsg-server"},
		{"--run-setup-node", ExitFailed, "setup_node: is set, but the visor is in no dmsg network"},
		{"--public --listen-tcp=", ExitFailed, "transport.public: is set, but the visor takes no links over TCP"},
		{"--metrics nowhere", ExitFailed, "metrics.addr: is \"nowhere\""},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, _, errs := run(append([]string{"config", "gen", "--out", file}, strings.Fields(tt.args)...)...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, %q; want %d, %q", code, errs, tt.code, tt.want)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("a configuration was written all the same")
			}
		})
	}
}

func TestConfigShow(t *testing.T) {
	file := filepath.Join(t.TempDir(), config.FileName)
	_, sk := cipher.GenerateKeyPair()
	hex, _ := sk.MarshalText()
	if err := os.WriteFile(file, []byte(`{"secret_key":"`+string(hex)+`","workers":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run("config", "show", file)
	if code != 0 || strings.Contains(out, string(hex)) || !strings.Contains(out, `"workers": 2`) || !strings.Contains(out, `"max_hops": 6`) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
