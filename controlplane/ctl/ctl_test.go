package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// fasthttp's caretakers sleep up to 10 s before they see that they may end.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// Valid public keys: G and 2G of SEC 2.
const (
	k1 = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	k2 = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
)

func pk(t *testing.T, s string) cipher.PubKey {
	t.Helper()
	k, err := cipher.ParsePubKeyText(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// visor answers what it is told.
type visor struct {
	api.Visor // what no test asks for

	err      error
	links    []api.Link
	routes   []api.Route
	paths    []api.Path
	trace    []api.TraceHop
	report   api.Report
	reloaded api.Reloaded

	transports []api.Transport
	forwards   []api.Forward
	got        any
	save       bool
	rtts       []int64
}

func (v *visor) Status(context.Context) (api.Status, error) {
	return api.Status{Version: "v1", Started: time.Now().Add(-90 * time.Minute), ListenUDP: "[::]:7777", Links: 2, LinksUp: 1, HeapBytes: 5 << 20,
		Drops: map[string]uint64{"replay": 3, "bad tag": 1}}, v.err
}

func (v *visor) Ping(context.Context, cipher.PubKey) (api.Pong, error) {
	if len(v.rtts) == 0 {
		return api.Pong{}, api.ErrUnreachable.With("no route")
	}
	rtt := v.rtts[0]
	v.rtts = v.rtts[1:]
	return api.Pong{RTTMicros: rtt}, nil
}
func (v *visor) Links(context.Context) ([]api.Link, error) { return v.links, v.err }
func (v *visor) set(got any, save bool) error              { v.got, v.save = got, save; return v.err }

func (v *visor) AddLink(_ context.Context, s api.LinkSpec, save bool) error { return v.set(s, save) }

func (v *visor) RemoveLink(_ context.Context, id api.LinkID, save bool) error {
	return v.set(id, save)
}
func (v *visor) Routes(context.Context) ([]api.Route, error)            { return v.routes, v.err }
func (v *visor) AddRule(_ context.Context, r api.Rule, save bool) error { return v.set(r, save) }

func (v *visor) RemoveRule(_ context.Context, in api.Hop, save bool) error { return v.set(in, save) }
func (v *visor) Forwards(context.Context) ([]api.Forward, error)           { return v.forwards, v.err }

func (v *visor) AddForward(_ context.Context, s api.ForwardSpec, save bool) (string, error) {
	return s.ID(), v.set(s, save)
}

func (v *visor) Transports(context.Context) ([]api.Transport, error) { return v.transports, v.err }

func (v *visor) AddTransport(_ context.Context, s api.TransportSpec, save bool) (api.Transport, error) {
	return api.Transport{PK: s.PK, Type: api.STCPR, State: api.LinkUp, Why: "needed"}, v.set(s, save)
}

func (v *visor) RemoveTransport(_ context.Context, id api.TransportID, save bool) error {
	return v.set(id, save)
}

func (v *visor) TransportTypes(context.Context) ([]api.TransportType, error) {
	return []api.TransportType{{Type: api.STCPR, Available: true, Text: "TCP"}, {Type: api.DMSG, Text: "no relay is connected"}}, v.err
}

func (v *visor) AutoTransports(context.Context) (api.Auto, error) {
	return api.Auto{On: true, Have: map[string]int{api.SUDPH: 2, api.STCPR: 1}, Public: true, PublicWhy: "nobody gets in"}, v.err
}

func (v *visor) SetAutoTransports(_ context.Context, on, save bool) error { return v.set(on, save) }

func (v *visor) Find(_ context.Context, s api.FindSpec) ([]api.Path, error) {
	return v.paths, v.set(s, false)
}

func (v *visor) Connect(_ context.Context, s api.ConnectSpec) ([]api.Path, error) {
	return v.paths, v.set(s, false)
}

func (v *visor) Disconnect(_ context.Context, pk cipher.PubKey) error { return v.set(pk, false) }

func (v *visor) Trace(_ context.Context, s api.ConnectSpec) ([]api.TraceHop, error) {
	return v.trace, v.set(s, false)
}

func (v *visor) Reload(context.Context) (api.Reloaded, error) { return v.reloaded, v.err }

func (v *visor) Halt(context.Context) error { return v.set("halt", false) }

func (v *visor) SetLogLevel(_ context.Context, level string) error { return v.set(level, false) }

func (v *visor) Health(context.Context) ([]api.ServiceHealth, error) {
	return []api.ServiceHealth{
		{Deployment: "lab", Service: "transport discovery", URL: "http://h/tpd", OK: true, RTTMicros: 1200, Version: "v2"},
		{Deployment: "lab", Service: "route finder", URL: "http://h/rf", Error: "no answer within 5s"},
	}, v.err
}

func (v *visor) Registered(_ context.Context, q api.ServiceQuery) ([]api.RegisteredTransport, error) {
	return []api.RegisteredTransport{{Deployment: "lab", ID: "id-1", Edges: []cipher.PubKey{q.PK, q.PK}, Type: api.SUDPH, Label: "user", RTTMicros: 999, LossPPM: 12_345}}, v.set(q, false)
}

func (v *visor) Addresses(_ context.Context, q api.ServiceQuery) ([]api.Address, error) {
	return []api.Address{{Deployment: "lab", PK: q.PK, Remote: "192.0.2.1:7777", Local: []string{"10.0.0.1:7777"}}}, v.set(q, false)
}

func (v *visor) Offers(_ context.Context, q api.OfferQuery) ([]api.Offer, error) {
	return []api.Offer{{Deployment: "lab", Address: k1 + ":80", Type: q.Type, Country: "IS"}}, v.set(q, false)
}

func (v *visor) Uptimes(_ context.Context, q api.ServiceQuery) ([]api.Uptime, error) {
	return []api.Uptime{{Deployment: "lab", Online: true, Percent: 99.54}}, v.set(q, false)
}

func (v *visor) Doctor(context.Context) (api.Report, error) { return v.report, v.err }

func (v *visor) Active(context.Context) ([]api.Path, error) { return v.paths, v.err }

func (v *visor) RemoveForward(_ context.Context, id string, save bool) error { return v.set(id, save) }

// serve runs v's API and returns its socket.
func serve(t *testing.T, v api.Visor) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, ln, v, zerolog.Nop()) }()
	t.Cleanup(func() { cancel(); <-done })
	return socket
}

// run runs skyctl.
func run(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = New(&o, &e, "v1", "/nowhere/s").Main(context.Background(), args)
	return code, o.String(), e.String()
}

func TestCommands(t *testing.T) {
	a, b := pk(t, k1), pk(t, k2)
	hop := api.Hop{Link: a, Label: 7}
	up := []api.Link{{PK: a, Type: api.SUDPH, State: api.LinkUp}, {PK: a, Type: api.DMSG, State: api.LinkUp}}
	tests := []struct {
		args string
		want any
		save bool
		out  string
	}{
		{"link add " + k1 + " 192.0.2.1:7", api.LinkSpec{PK: a, Type: api.SUDPH, Addr: "192.0.2.1:7"}, false, "added until the visor restarts (--save keeps it)\n"},
		{"link add --wait 0s --type stcpr " + k2 + " h:7 --save", api.LinkSpec{PK: b, Type: api.STCPR, Addr: "h:7"}, true, "added, and saved\n"},
		{"link add --type dmsg " + k1, api.LinkSpec{PK: a, Type: api.DMSG}, false, "added until"},
		{"link rm --type dmsg " + k1, api.LinkID{PK: a, Type: api.DMSG}, false, "removed"},
		{"link rm " + k1, api.LinkID{PK: a}, false, "removed; if the configuration file has it, it is back after a restart (--save removes it there too)\n"},
		{"route add-rule --in " + k1 + ":7 --out " + k2 + ":9", api.Rule{In: hop, Out: api.Hop{Link: b, Label: 9}}, false, ""},
		{"route add-rule --in " + k1 + ":7 --out " + k1 + ":7 --peer " + k2, api.Rule{In: hop, Out: hop, Peer: &b}, false, ""},
		{"route rm-rule --save " + k1 + ":7", hop, true, "removed, from the configuration file too\n"},
		{"forward add --expose localhost:80 --port 8080 --allow " + k1 + " --allow " + k2, api.ForwardSpec{Expose: "localhost:80", Port: 8080, Allow: []cipher.PubKey{a, b}}, false, "added tcp:8080 until"},
		{"forward add --udp --reach " + k1 + ":53 --local 127.0.0.1:53 --json", api.ForwardSpec{UDP: true, Reach: k1 + ":53", Local: "127.0.0.1:53"}, false, "{\n  \"id\": \"udp:127.0.0.1:53\"\n}\n"},
		{"forward rm udp:127.0.0.1:53", "udp:127.0.0.1:53", false, "removed"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			v := &visor{links: up}
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

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTables compares with what somebody has looked at.
func TestTables(t *testing.T) {
	a, b := pk(t, k1), pk(t, k2)
	ago := func(d time.Duration) *time.Time { at := time.Now().Add(-d); return &at }
	socket := serve(t, &visor{
		rtts: []int64{412, 1380, 25_000},
		links: []api.Link{
			{PK: a, Type: api.SUDPH, Addr: "192.0.2.7:7777", State: api.LinkUp, Since: ago(3*time.Hour + 12*time.Minute), RTTMicros: 412, MTU: 1424, RecvBytes: 1288490188, SentBytes: 1023},
			{PK: b, Type: api.STCPR, Addr: "[2001:db8::1]:7777", State: api.LinkConnecting, Inbound: true, LastError: "link: no visor answered"},
		},
		routes: []api.Route{
			{Rule: api.Rule{In: api.Hop{Link: a, Label: 7}, Out: api.Hop{Link: b, Label: 9}}, Kind: api.RouteForward, Static: true, Packets: 17, Bytes: 20480, Waiting: []cipher.PubKey{b}},
			{Rule: api.Rule{In: api.Hop{Link: a, Label: 8}, Out: api.Hop{Link: a, Label: 8}, Peer: &b}, Kind: api.RouteEnd, Static: true},
			{Rule: api.Rule{In: api.Hop{Link: a, Label: 70000}, Peer: &a}, Kind: api.RouteDirect},
		},
		forwards: []api.Forward{
			{ForwardSpec: api.ForwardSpec{Expose: "localhost:80", Port: 80, Allow: []cipher.PubKey{a}}, ID: "tcp:80", Open: 1, Connections: 12, Refused: 1, SentBytes: 99 << 20,
				LastError: "skynet: not allowed", LastErrorAt: ago(61 * time.Second)},
			{ForwardSpec: api.ForwardSpec{Reach: k1 + ":80", Local: "127.0.0.1:9000"}, ID: "tcp:127.0.0.1:9000"},
		},
	})
	tests := []struct{ args, want string }{
		{"status", `
visor     000000000000000000000000000000000000000000000000000000000000000000
version   v1, up 1h30m
listens   udp [::]:7777
links     1 up of 2
sessions  0
rules     0
forwards  0
workers   0, heap 5.00 MiB
dropped   1 × bad tag, 3 × replay
`},
		{"link", `
NEIGHBOUR                                                           TYPE   ADDRESS                  STATE       FOR    RTT      MTU   RECEIVED  SENT
0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798  sudph  192.0.2.7:7777           up          3h12m  0.41 ms  1424  1.20 GiB  1023 B
02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5  stcpr  [2001:db8::1]:7777 (in)  connecting  –      –        –     0 B       0 B
  └ link: no visor answered
`},
		{"route ls", `
KIND     IN                                                                    PACKETS  BYTES
forward  0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:7  17       20.0 KiB
  └ to   02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5:9
  └ waits for a link to 02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5
end      0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:8  0        0 B
  └ out  0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:8
  └ peer 02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5
`},
		{"forward ls", `
ID                  KIND    TO            WHO           OPEN  TOTAL  REFUSED  FAILED  RECEIVED  SENT
tcp:80              expose  localhost:80  0279be66…     1     12     1        0       0 B       99.0 MiB
  └ skynet: not allowed (1m01s ago)
tcp:127.0.0.1:9000  reach   0279be66…:80  this machine  0     0      0        0       0 B       0 B
`},
		{"ping -i 1ms -c 3 " + k1, `
1  answer from 0279be66 in 0.41 ms
2  answer from 0279be66 in 1.38 ms
3  answer from 0279be66 in 25.0 ms
3 sent, 3 answered; round trip min 0.41 ms, average 8.93 ms, max 25.0 ms
`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, out, errs := run(append([]string{"--socket", socket}, strings.Fields(tt.args)...)...)
			if code != 0 || errs != "" || "\n"+out != tt.want {
				t.Errorf("exit %d, %s\ngot:\n%s\nwant:%s", code, errs, out, tt.want)
			}
		})
	}
}

func TestEmptyLists(t *testing.T) {
	socket := serve(t, &visor{})
	for _, cmd := range []string{"link", "route", "forward"} {
		if _, out, _ := run("--socket", socket, cmd, "ls"); !strings.HasPrefix(out, "no ") {
			t.Errorf("%s ls of nothing prints %q", cmd, out)
		}
		if _, out, _ := run("--socket", socket, cmd, "ls", "--json"); out != "[]\n" {
			t.Errorf("%s ls --json of nothing prints %q", cmd, out)
		}
	}
}

func TestErrors(t *testing.T) {
	down := []api.Link{{PK: pk(t, k1), Type: api.SUDPH, State: api.LinkConnecting, LastError: "no visor with key X answered"}}
	socket := serve(t, &visor{err: api.ErrDenied.With("policy says no")})
	waiting := serve(t, &visor{links: down})
	tests := []struct {
		args string
		code int
		want string
	}{
		{"status", ExitNoVisor, "skyctl: no visor answers at /nowhere/s: start skyvisor"},
		{"status --json", ExitNoVisor, `{"error":"no visor answers at /nowhere/s: start skyvisor, or name its socket with --socket","code":"no_visor"}`},
		{"--socket " + socket + " link ls", ExitFailed, "skyctl: policy says no\n"},
		{"--socket " + socket + " link ls --json", ExitFailed, `{"error":"policy says no","code":"denied"}`},
		{"--socket " + waiting + " link add " + k1 + " h:1", ExitFailed, "skyctl: no visor with key X answered; the visor keeps trying"},
		{"--socket " + waiting + " ping -c 1 " + k1, ExitFailed, "skyctl: no route"},
		{"lnk", ExitUsage, `skyctl: expected command but got "lnk"`},
		{"link add xyz h:1", ExitUsage, `skyctl: "xyz" is no public key`},
		{"link add " + k1, ExitUsage, "skyctl: required argument 'addr' not provided"},
		{"link add --type dmsg " + k1 + " h:1", ExitUsage, `skyctl: a dmsg link goes by key alone; leave "h:1" out`},
		{"route rm-rule " + k1, ExitUsage, "want <neighbour's public key>:<label>"},
		{"forward add --expose h:1", ExitUsage, "--port: is missing: on which port of this visor's key, 1 to 65535; --allow: is empty"},
		{"forward add", ExitUsage, "skyctl: neither expose nor reach is set"},
		{"forward add --expose h:1 --port 65536 --public", ExitUsage, `skyctl: "65536" is no port (1 to 65535)`},
		{"ping --count=-1 " + k1, ExitUsage, "skyctl: --count is -1; want 0 or more"},
		{"ping --interval=-1s " + k1, ExitUsage, "skyctl: --interval is -1s; want 0s or more"},
		{"ping --timeout 0s " + k1, ExitUsage, "skyctl: --timeout is 0s; want more than 0s"},
		{"--socket " + waiting + " link add " + k1 + " nohost", ExitFailed, `skyctl: addr: is "nohost"; want host:port`},
		{"--socket " + waiting + " route add-rule --in " + k1 + ":0 --out " + k2 + ":7", ExitFailed, "skyctl: in.label: is 0; labels of static rules are 1 to 65535"},
		{"completion fish", ExitUsage, "enum value must be one of bash,zsh"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, _, errs := run(strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, %q; want %d, %q", code, errs, tt.code, tt.want)
			}
		})
	}
}

func TestKeysAndConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	file, key := filepath.Join(dir, config.FileName), filepath.Join(dir, config.KeyFileName)
	code, out, errs := run("config", "gen", "--out", file, "--listen-tcp", "")
	if code != 0 || !strings.Contains(out, "skyvisor --config "+file) || !strings.Contains(out, "skyctl --socket "+filepath.Join(dir, "visor.sock")) {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	c, sk, err := config.Load(file)
	if err != nil || c.ListenTCP != "" || c.ListenUDP != config.Default().ListenUDP {
		t.Fatalf("%+v, %v", c, err)
	}
	want, _ := sk.PubKey()
	if _, out, _ := run("pubkey", key); out != want.String()+"\n" {
		t.Errorf("pubkey prints %q, want %s", out, want)
	}
	if code, out, errs := run("config", "check", file); code != 0 || !strings.Contains(out, want.String()) {
		t.Errorf("check: %d %s%s", code, out, errs)
	}
	if _, out, _ := run("config", "check", "--json", file); out != "{\n  \"pk\": \""+want.String()+"\",\n  \"config\": \""+file+"\"\n}\n" {
		t.Errorf("check --json prints %s", out)
	}
	// Again: refused, and with --force the key stays.
	if code, _, errs := run("config", "gen", "--out", file); code != ExitFailed || !strings.Contains(errs, "--force") {
		t.Errorf("gen over a file: %d %s", code, errs)
	}
	if code, _, errs := run("config", "gen", "--out", file, "--force"); code != 0 {
		t.Errorf("gen --force: %s", errs)
	}
	if _, again, err := config.Load(file); err != nil || again != sk {
		t.Errorf("gen --force changed the key: %v", err)
	}
	if code, _, errs := run("keygen", "--out", key); code != ExitFailed || !strings.Contains(errs, "exists") {
		t.Errorf("keygen over a file: %d %s", code, errs)
	}
	if err := os.WriteFile(file, []byte("{\n\"workrs\": 1}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run("config", "check", file); code != ExitFailed || !strings.Contains(errs, file+`:2:1: unknown key "workrs"; did you mean "workers"?`) {
		t.Errorf("check of a bad file: %d %s", code, errs)
	}
	if code, _, errs := run("config", "check", "--json", file); code != ExitFailed || !strings.Contains(errs, `"code":"bad_request"`) {
		t.Errorf("check --json of a bad file: %d %s", code, errs)
	}
	var pair struct {
		PK     cipher.PubKey `json:"pk"`
		Secret cipher.SecKey `json:"secret_key"`
	}
	_, out, _ = run("keygen", "--json")
	if err := json.Unmarshal([]byte(out), &pair); err != nil {
		t.Fatal(err)
	}
	if got, err := pair.Secret.PubKey(); err != nil || got != pair.PK {
		t.Errorf("keygen --json: %v, %v, want %v", got, err, pair.PK)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"--help", "link add --help", "--version", "completion bash", "completion zsh"} {
		code, out, errs := run(strings.Fields(args)...)
		if code != 0 || out == "" || errs != "" {
			t.Errorf("%s: exit %d, %d bytes, %q", args, code, len(out), errs)
		}
	}
}

// standardOutput returns what f prints there: kingpin offers completions nowhere else.
func standardOutput(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := os.Stdout
	os.Stdout = file
	defer func() { os.Stdout = before }()
	f()
	b, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCompletion: what the script of "skyctl completion" asks, and is told.
func TestCompletion(t *testing.T) {
	tests := []struct {
		words []string
		want  string // words of the answer
	}{
		{nil, "keygen status link forward"},
		{[]string{""}, "keygen status link forward"},
		{[]string{"link"}, "link"},
		{[]string{"link", ""}, "ls add rm"},
		{[]string{"forward", "a"}, "add"},
		{[]string{"config", ""}, "gen check"},
		{[]string{"link", "add", "--ty"}, "--type"},
		{[]string{"link", "add", "--type", ""}, "sudph stcpr"},
		{[]string{"completion", ""}, "bash zsh"},
	}
	for _, tt := range tests {
		got := strings.Fields(standardOutput(t, func() {
			if code, _, errs := run(append([]string{"--completion-bash"}, tt.words...)...); code != 0 || errs != "" {
				t.Errorf("%q: exit %d, %q", tt.words, code, errs)
			}
		}))
		for _, w := range strings.Fields(tt.want) {
			if !slices.Contains(got, w) {
				t.Errorf("%q offers %q, want %q among them", tt.words, got, w)
			}
		}
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10240: "10.0 KiB", 1023 << 10: "1.00 MiB", 999 << 20: "999 MiB", 1 << 63: "8.00 EiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 25 * time.Hour: "1d01h"} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %q, want %q", d, got, want)
		}
	}
}
