package dmsgdisc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) {
	// fasthttp keeps one goroutine for the Date header once it has served, and those
	// that end idle workers sleep for 10 s before they see that their server has ended.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// A closed cluster client sleeps for 5 s before it drops connections.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

// A clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A rig is a running service and an HTTP client of it.
type rig struct {
	t     testing.TB
	s     *Service
	host  *httpd.Host
	store store.Store
	clock *clock
	url   string
	http  *http.Client
	stop  func()
}

// noLimits returns options for tests.
func noLimits(c *clock) Options {
	o := DefaultOptions()
	o.ReadRate, o.WriteRate, o.NewRate, o.KeyRate = 0, 0, 0, 0
	o.Now = c.Now
	return o
}

func openStore(t testing.TB, path string, c *clock) store.Store {
	t.Helper()
	o := store.DefaultOptions()
	o.Now = c.Now
	st, err := store.Open(context.Background(), "bolt://"+path, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newRig(t testing.TB, change func(*Options)) *rig {
	c := newClock()
	st := openStore(t, filepath.Join(t.TempDir(), "disc.db"), c)
	r := startRig(t, st, c, change)
	t.Cleanup(func() {
		r.stop()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// startRig runs a service over st.
func startRig(t testing.TB, st store.Store, c *clock, change func(*Options)) *rig {
	t.Helper()
	o := noLimits(c)
	if change != nil {
		change(&o)
	}
	s, err := New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	h := s.Host()
	go func() { done <- h.Run(ctx, l, nil) }()
	transport := &http.Transport{DisableCompression: true}
	r := &rig{t: t, s: s, host: h, store: st, clock: c, url: "http://" + l.Addr().String(), http: &http.Client{Transport: transport}}
	r.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// do makes a request and returns status and body.
func (r *rig) do(method, path, body string, header ...string) (int, string) {
	r.t.Helper()
	rs := r.response(method, path, body, header...)
	defer rs.Body.Close()
	b, err := io.ReadAll(rs.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return rs.StatusCode, string(b)
}

func (r *rig) response(method, path, body string, header ...string) *http.Response {
	r.t.Helper()
	rq, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		rq.Header.Set(header[i], header[i+1])
	}
	rs, err := r.http.Do(rq)
	if err != nil {
		r.t.Fatal(err)
	}
	return rs
}

// announce makes a request of which only the head is sent, with a body of size bytes
// to come, and returns the answer's status. Who sends the body too may find the
// connection reset before the answer is read: the server does not wait for the rest.
func (r *rig) announce(method, path string, size int) int {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, path, size)
	rs, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	rs.Body.Close()
	return rs.StatusCode
}

// want makes a request and compares the answer.
func (r *rig) want(method, path, body string, status int, answer string) {
	r.t.Helper()
	got, text := r.do(method, path, body)
	if got != status || text != answer {
		r.t.Errorf("%s %s: %d %s\nwant %d %s", method, path, got, text, status, answer)
	}
}

func fault(status int, text string) string {
	b, _ := json.Marshal(disc.Reply{Message: text, Code: status})
	return string(b)
}

// wantFault is want for a refusal.
func (r *rig) wantFault(method, path, body string, f *disc.Fault) {
	r.t.Helper()
	r.want(method, path, body, f.Status, fault(f.Status, f.Text))
}

const (
	entryPath = "/dmsg-discovery/entry/"
	wroteNew  = `{"message":"wrote a new entry","code":200}`
	wroteNext = `{"message":"wrote new entry iteration","code":200}`
	deleted   = `{"message":"deleted entry","code":200}`
)

// keyPair returns the key pair whose secret is b 32 times.
func keyPair(t testing.TB, b byte) (cipher.PubKey, cipher.SecKey) {
	t.Helper()
	sk := cipher.SecKey(bytes.Repeat([]byte{b}, cipher.SecKeyLen))
	pk, err := sk.PubKey()
	if err != nil {
		t.Fatal(err)
	}
	return pk, sk
}

// signed returns e, changed and signed.
func signed(t testing.TB, e *disc.Entry, sk cipher.SecKey, change func(*disc.Entry)) *disc.Entry {
	t.Helper()
	if change != nil {
		change(e)
	}
	if err := e.Sign(sk); err != nil {
		t.Fatal(err)
	}
	return e
}

func text(e *disc.Entry) string { return string(e.Raw()) }

func (r *rig) client(b byte, change func(*disc.Entry)) *disc.Entry {
	pk, sk := keyPair(r.t, b)
	server, _ := keyPair(r.t, 0x22)
	return signed(r.t, disc.NewClient(pk, disc.ClientVisor, []cipher.PubKey{server}, r.clock.Now()), sk, change)
}

func (r *rig) server(b byte, change func(*disc.Entry)) *disc.Entry {
	pk, sk := keyPair(r.t, b)
	return signed(r.t, disc.NewServer(pk, "1.2.3.4:8081", 10, r.clock.Now()), sk, change)
}

func TestLifeOfAClient(t *testing.T) {
	r := newRig(t, nil)
	e := r.client(0x11, nil)
	pk := e.Static.String()
	r.wantFault("GET", entryPath+pk, "", disc.ErrNotFound)
	r.want("GET", "/dmsg-discovery/entries", "", 200, "[]")
	r.want("POST", entryPath, text(e), 200, wroteNew)
	r.want("GET", entryPath+pk, "", 200, text(e))
	r.want("GET", entryPath+strings.ToUpper(pk), "", 200, text(e))
	r.want("GET", "/dmsg-discovery/entries", "", 200, `["`+pk+`"]`)
	r.want("GET", "/dmsg-discovery/visorEntries", "", 200, `["`+pk+`"]`)

	next := r.client(0x11, func(e *disc.Entry) { e.Sequence, e.ClientType = 1, "" })
	r.want("POST", entryPath+pk, text(next), 200, wroteNext)
	r.want("GET", entryPath+pk, "", 200, text(next))
	r.want("GET", "/dmsg-discovery/visorEntries", "", 200, `[]`)

	server, _ := keyPair(t, 0x22)
	r.want("GET", "/dmsg-discovery/server/"+server.String()+"/clients", "", 200, "["+text(next)+"]")
	r.want("GET", "/dmsg-discovery/server/"+pk+"/clients", "", 200, "[]")
	r.want("GET", "/dmsg-discovery/servers/clients", "", 200, `{"`+server.String()+`":[`+text(next)+`]}`)
	other, _ := keyPair(t, 0x33)
	r.want("POST", "/dmsg-discovery/entries/batch", `["`+pk+`","`+other.String()+`","x"]`, 200, `{"`+pk+`":`+text(next)+`}`)

	r.want("DELETE", "/dmsg-discovery/entry", text(next), 200, deleted)
	r.wantFault("GET", entryPath+pk, "", disc.ErrNotFound)
	r.want("GET", "/dmsg-discovery/entries", "", 200, "[]")
}

func TestServers(t *testing.T) {
	official, _ := keyPair(t, 0x24)
	r := newRig(t, func(o *Options) { o.Official, o.AuthPassphrase = []cipher.PubKey{official}, "open sesame" })
	r.wantFault("GET", "/dmsg-discovery/available_servers", "", disc.ErrNoServers)
	r.wantFault("GET", "/dmsg-discovery/all_servers", "", disc.ErrNoServers)
	servers := []struct {
		b         byte
		available int
		said      string
		want      string
	}{
		{0x22, 5, "", disc.Community},
		{0x23, 7, "open sesame", disc.Official},
		{0x24, 6, "", disc.Official},
		{0x25, 0, disc.Official, disc.Community},
		{0x26, -3, "open sesam", disc.Community},
	}
	for _, s := range servers {
		e := r.server(s.b, func(e *disc.Entry) { e.Server.AvailableSessions, e.Server.ServerType = s.available, s.said })
		r.want("POST", entryPath, text(e), 200, wroteNew)
		_, got := r.do("GET", entryPath+e.Static.String(), "")
		served, err := disc.Parse([]byte(got))
		if err != nil || served.Server.ServerType != s.want || strings.Contains(got, "sesame") {
			t.Errorf("said %q: served %s, %v", s.said, got, err)
		}
		// A second time it is the same: the deployed discovery forgets it then.
		e = r.server(s.b, func(e *disc.Entry) {
			e.Sequence, e.Server.AvailableSessions, e.Server.ServerType = 1, s.available, s.said
		})
		r.want("POST", entryPath, text(e), 200, wroteNext)
		if _, got := r.do("GET", entryPath+e.Static.String(), ""); !strings.Contains(got, `"serverType":"`+s.want+`"`) {
			t.Errorf("said %q: served the second time %s", s.said, got)
		}
	}
	var list []struct{ Server disc.Server }
	_, got := r.do("GET", "/dmsg-discovery/available_servers", "")
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list) != 3 || list[0].Server.AvailableSessions != 7 || list[2].Server.AvailableSessions != 5 {
		t.Errorf("available_servers = %s", got)
	}
	_, got = r.do("GET", "/dmsg-discovery/all_servers", "")
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list) != 5 {
		t.Errorf("all_servers = %s", got)
	}
	r.want("GET", "/dmsg-discovery/entries", "", 200, "[]") // lists clients only

	// Two minutes without a word, and they are gone, from the lists too.
	r.clock.add(2*time.Minute + time.Second)
	r.wantFault("GET", "/dmsg-discovery/all_servers", "", disc.ErrNoServers)
	r.wantFault("GET", entryPath+official.String(), "", disc.ErrNotFound)
}

func TestRefusals(t *testing.T) {
	r := newRig(t, nil)
	a, _ := keyPair(t, 0x11)
	now := r.clock.Now()
	client := func(change func(*disc.Entry)) string { return text(r.client(0x11, change)) }
	server := func(change func(*disc.Entry)) string { return text(r.server(0x22, change)) }
	addr := func(s string) string { return server(func(e *disc.Entry) { e.Server.Address = s }) }
	null := strings.Replace(client(nil), a.String(), strings.Repeat("0", 66), 1)
	stored := r.client(0x33, func(e *disc.Entry) { e.Sequence = 5 })
	r.want("POST", entryPath, text(stored), 200, wroteNew)
	other := func(sequence uint64, d time.Duration) string {
		return text(r.client(0x33, func(e *disc.Entry) { e.Sequence, e.Timestamp = sequence, now.Add(d).UnixNano() }))
	}
	tests := []struct {
		name, body string
		want       *disc.Fault
	}{
		{"no JSON", `x`, disc.ErrUnexpected},
		{"empty", ``, disc.ErrUnexpected},
		{"a list", `[]`, disc.ErrUnexpected},
		{"key is no key", `{"static":"02"}`, disc.ErrUnexpected},
		{"loopback", addr("127.0.0.1:8081"), disc.ErrLocalAddress},
		{"loopback, IPv6", addr("[::1]:8081"), disc.ErrLocalAddress},
		{"loopback, mapped", addr("[::ffff:127.0.0.1]:8081"), disc.ErrLocalAddress},
		{"localhost", addr("localhost:8081"), disc.ErrLocalAddress},
		{"no host", addr(":8081"), disc.ErrLocalAddress},
		{"any address", addr("0.0.0.0:8081"), disc.ErrLocalAddress},
		{"any address, mapped", addr("[::ffff:0.0.0.0]:8081"), disc.ErrLocalAddress},
		{"no port", addr("1.2.3.4"), disc.ErrBadInput},
		{"no address", addr(""), disc.ErrNoServerAddress},
		{"no version", client(func(e *disc.Entry) { e.Version = "" }), disc.ErrNoVersion},
		{"no signature", `{"version":"0.0.1","static":"` + a.String() + `","client":{}}`, disc.ErrNoSignature},
		{"no key", null, disc.ErrNoKey},
		{"no role", client(func(e *disc.Entry) { e.Client = nil }), disc.ErrNoRole},
		{"old server", server(func(e *disc.Entry) { e.Timestamp = now.Add(-61 * time.Second).UnixNano() }), disc.ErrOutdated},
		{"server of the future", server(func(e *disc.Entry) { e.Timestamp = now.Add(6 * time.Second).UnixNano() }), disc.ErrOutdated},
		{"old server with a client part", server(func(e *disc.Entry) {
			e.Client, e.Timestamp = &disc.Client{}, now.Add(-61*time.Second).UnixNano()
		}), disc.ErrOutdated},
		{"forged", strings.Replace(client(nil), `"visor"`, `"other"`, 1), disc.ErrUnauthorized},
		{"signature is no hex", strings.Replace(client(nil), `"signature":"`, `"signature":"zz`, 1), disc.ErrUnauthorized},
		{"same sequence", other(5, time.Second), disc.ErrSequence},
		{"lower sequence", other(4, time.Second), disc.ErrSequence},
		{"older", other(6, -time.Second), disc.ErrTimestampOrder},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := *r
			r.t = t
			r.wantFault("POST", entryPath, tt.body, tt.want)
		})
	}
	r.wantFault("GET", entryPath+"xyz", "", disc.ErrBadInput)
	r.wantFault("GET", entryPath+strings.Repeat("0", 66), "", disc.ErrBadInput)
	r.wantFault("GET", entryPath+"02"+strings.Repeat("f", 64), "", disc.ErrBadInput)
	r.wantFault("GET", "/dmsg-discovery/nothing", "", errNoPath)
	r.wantFault("GET", "/", "", errNoPath)
	r.wantFault("PUT", entryPath, "", errMethod)
	r.wantFault("POST", "/dmsg-discovery/entries", "", errMethod)
	r.wantFault("POST", "/dmsg-discovery/entries/batch", "{}", disc.ErrBadInput)
	r.wantFault("POST", "/dmsg-discovery/entries/batch", `["`+strings.Repeat(`","`, disc.MaxBatch)+`"]`, disc.ErrBadInput)
	if status := r.announce("POST", entryPath, 70<<10); status != 413 {
		t.Errorf("a body of 70 KiB: %d", status)
	}
	// A sequence that is greater by more than 1 is fine, and so is the same time.
	r.want("POST", entryPath, other(9, 0), 200, wroteNext)
	// A client's clock may be wrong.
	r.want("POST", entryPath, client(func(e *disc.Entry) { e.Timestamp = 1 }), 200, wroteNew)
}

func TestTestMode(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Testing = true })
	e := r.server(0x22, func(e *disc.Entry) { e.Server.Address = "127.0.0.1:8081" })
	r.want("POST", entryPath, text(e), 200, wroteNew)
	// Where no pass-phrase is set, saying nothing is none.
	if _, got := r.do("GET", entryPath+e.Static.String(), ""); !strings.Contains(got, `"serverType":"community"`) {
		t.Errorf("without a pass-phrase: %s", got)
	}
}
