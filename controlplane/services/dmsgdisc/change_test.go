package dmsgdisc

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Entries are public: whoever looks one up and sends it back must not be able to
// delete it, which the deployed discovery allows.
func TestDeleteTakesProof(t *testing.T) {
	r := newRig(t, nil)
	e := r.client(0x11, func(e *disc.Entry) { e.Sequence = 3 })
	home, away := httpd.Caller{Addr: ip("192.0.2.1")}, httpd.Caller{Addr: ip("192.0.2.2")}
	publish := func(e *disc.Entry) {
		t.Helper()
		if _, err := r.s.publish(t.Context(), e, home.Source(), false); err != nil {
			t.Fatal(err)
		}
	}
	publish(e)
	later := func(sequence uint64, d time.Duration) *disc.Entry {
		return r.client(0x11, func(e *disc.Entry) { e.Sequence, e.Timestamp = sequence, e.Timestamp+int64(d) })
	}
	bKey, _ := keyPair(t, 0x22)
	forged, _ := disc.Parse([]byte(strings.Replace(text(e), `"sequence":3`, `"sequence":4`, 1)))
	tests := []struct {
		name   string
		e      *disc.Entry
		caller httpd.Caller
		want   error
	}{
		{"looked up, sent back", e, away, disc.ErrOutdated},
		{"looked up, sent back over dmsg", e, httpd.Caller{PK: bKey}, disc.ErrOutdated},
		{"an older one", later(2, time.Second), home, disc.ErrSequence},
		{"newer sequence, older time", later(4, -time.Second), away, disc.ErrSequence},
		{"newer sequence, same time", later(4, 0), away, disc.ErrSequence},
		{"forged", forged, home, disc.ErrUnauthorized},
	}
	for _, tt := range tests {
		if err := r.s.remove(t.Context(), tt.e, tt.caller); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if r.s.mirror.get(e.Static, r.clock.Now()) == nil {
			t.Fatalf("%s: the entry is gone", tt.name)
		}
	}
	// The author may, in three ways; afterwards nothing older comes back.
	for _, way := range []struct {
		name   string
		e      func() *disc.Entry
		caller httpd.Caller
	}{
		{"as deployed clients do", func() *disc.Entry { return e }, home},
		{"over dmsg", func() *disc.Entry { return e }, httpd.Caller{PK: e.Static}},
		{"newer entry", func() *disc.Entry { return later(4, time.Second) }, away},
	} {
		del := way.e()
		if err := r.s.remove(t.Context(), del, way.caller); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		if r.s.mirror.get(e.Static, r.clock.Now()) != nil {
			t.Fatalf("%s: the entry is still there", way.name)
		}
		if _, err := r.s.publish(t.Context(), e, away.Source(), false); !errors.Is(err, disc.ErrTimestampOrder) {
			t.Errorf("%s: the entry that was deleted comes back: %v", way.name, err)
		}
		r.clock.add(2 * time.Second)
		e = r.client(0x11, nil)
		publish(e)
		if err := r.s.remove(t.Context(), del, away); err == nil {
			t.Errorf("%s: the same deletion works a second time", way.name)
		}
	}
	// Nothing to delete is deleted.
	r.want("DELETE", "/dmsg-discovery/entry", text(r.client(0x33, nil)), 200, deleted)
}

// A server's entry is given out with another type than it was signed with, and
// deployed servers send back what they looked up.
func TestDeleteRetypedServer(t *testing.T) {
	r := newRig(t, nil)
	e := r.server(0x22, nil)
	r.want("POST", entryPath, text(e), 200, wroteNew)
	_, served := r.do("GET", entryPath+e.Static.String(), "")
	if served == text(e) {
		t.Fatal("the type was not set")
	}
	r.want("DELETE", "/dmsg-discovery/entry", served, 200, deleted)
}

func TestDeregister(t *testing.T) {
	monitor, sk := keyPair(t, 0x44)
	r := newRig(t, func(o *Options) { o.Monitors = []cipher.PubKey{monitor} })
	sig, err := cipher.Sign(sk, []byte(monitor.String()))
	if err != nil {
		t.Fatal(err)
	}
	e := r.client(0x11, nil)
	r.want("POST", entryPath, text(e), 200, wroteNew)
	body := `["` + e.Static.String() + `"]`
	stranger, _ := keyPair(t, 0x55)
	tests := []struct {
		name, pk, sig, body string
		want                int
	}{
		{"nobody", "", "", body, 403},
		{"stranger", stranger.String(), sig.String(), body, 403},
		{"signature is no hex", monitor.String(), "zz", body, 400},
		{"another signature", monitor.String(), strings.Repeat("1", 130), body, 403},
		{"no list", monitor.String(), sig.String(), "{}", 400},
	}
	for _, tt := range tests {
		if got, _ := r.do("DELETE", "/dmsg-discovery/deregister", tt.body, "NM-PK", tt.pk, "NM-Sign", tt.sig); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	r.want("GET", entryPath+e.Static.String(), "", 200, text(e))
	if got, _ := r.do("DELETE", "/dmsg-discovery/deregister", body, "NM-PK", monitor.String(), "NM-Sign", sig.String()); got != 200 {
		t.Errorf("deregister: %d", got)
	}
	r.wantFault("GET", entryPath+e.Static.String(), "", disc.ErrNotFound)
	r.want("POST", entryPath, text(e), 200, wroteNew) // it was alive after all
	r.s.o.MonitorsDmsgOnly = true
	if got, _ := r.do("DELETE", "/dmsg-discovery/deregister", body, "NM-PK", monitor.String(), "NM-Sign", sig.String()); got != 403 {
		t.Errorf("deregister over HTTP where dmsg is asked for: %d", got)
	}
}

func TestClientsExpire(t *testing.T) {
	r := newRig(t, nil)
	there := func(e *disc.Entry) bool {
		status, _ := r.do("GET", entryPath+e.Static.String(), "")
		_, list := r.do("GET", "/dmsg-discovery/entries", "")
		if (status == 200) != strings.Contains(list, e.Static.String()) {
			t.Error("the list says something else than the entry")
		}
		return status == 200
	}
	short := r.client(0x31, nil)
	r.want("POST", entryPath+"?timeout=true", text(short), 200, wroteNew)
	quiet := r.client(0x32, nil)
	r.want("POST", entryPath, text(quiet), 200, wroteNew)
	var regular *disc.Entry
	for i := range uint64(3) {
		regular = r.client(0x33, func(e *disc.Entry) { e.Sequence = i })
		if got, body := r.do("POST", entryPath, text(regular)); got != 200 {
			t.Fatal(body)
		}
	}
	r.clock.add(3*time.Minute - time.Second)
	if !there(short) {
		t.Error("gone too early")
	}
	r.clock.add(2 * time.Second)
	if there(short) || !there(regular) {
		t.Error("an entry with timeout=true lives longer than 3 minutes, or another one shorter")
	}
	r.clock.add(time.Hour)
	if there(regular) || !there(quiet) {
		t.Error("a client that refreshed is there after an hour, or one that never does is not")
	}
	r.clock.add(7 * 24 * time.Hour)
	if there(quiet) {
		t.Error("a client lives for ever")
	}
	r.s.mirror.sweep(r.clock.Now())
	if n := r.s.mirror.len(); n != 0 {
		t.Errorf("%d entries after the sweep", n)
	}
}

func TestConditionalRequests(t *testing.T) {
	r := newRig(t, nil)
	e := r.server(0x22, nil)
	r.want("POST", entryPath, text(e), 200, wroteNew)
	for _, path := range []string{entryPath + e.Static.String(), "/dmsg-discovery/available_servers", "/dmsg-discovery/all_servers", "/dmsg-discovery/entries"} {
		rs := r.response("GET", path, "")
		rs.Body.Close()
		etag := rs.Header.Get("ETag")
		for _, tt := range []struct {
			have string
			want int
		}{{etag, 304}, {`"x", W/` + etag, 304}, {"*", 304}, {`"x"`, 200}, {strings.Trim(etag, `"`), 200}} {
			if got, body := r.do("GET", path, "", "If-None-Match", tt.have); got != tt.want || (body == "") != (got == 304) {
				t.Errorf("%s with If-None-Match %s: %d %s, want %d", path, tt.have, got, body, tt.want)
			}
		}
	}
	rs := r.response("GET", "/dmsg-discovery/all_servers", "")
	rs.Body.Close()
	next := r.server(0x22, func(e *disc.Entry) { e.Sequence = 1 })
	r.want("POST", entryPath, text(next), 200, wroteNext)
	if got, body := r.do("GET", "/dmsg-discovery/all_servers", "", "If-None-Match", rs.Header.Get("ETag")); got != 200 || !strings.Contains(body, `"sequence":1`) {
		t.Errorf("after a change: %d %s", got, body)
	}
}

// Of many writers of one sequence exactly one wins, whatever the instance.
func TestSequenceIsAtomic(t *testing.T) {
	r := newRig(t, nil)
	twin := startRig(t, r.store, r.clock, func(o *Options) { o.Shared = true })
	r.want("POST", entryPath, text(r.client(0x11, nil)), 200, wroteNew)
	const rounds, writers = 10, 8
	for round := range uint64(rounds) {
		var won atomic.Int32
		var last atomic.Value
		var wg sync.WaitGroup
		for i := range writers {
			e := r.client(0x11, func(e *disc.Entry) { e.Sequence, e.ClientType = round+1, fmt.Sprint("writer ", i) })
			s := []*Service{r.s, twin.s}[i%2]
			wg.Go(func() {
				_, err := s.publish(t.Context(), e, httpd.Source{}, false)
				switch {
				case err == nil:
					won.Add(1)
					last.Store(text(e))
				case !errors.Is(err, disc.ErrSequence):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("round %d: %d writers won", round, n)
		}
		pk, _ := keyPair(t, 0x11)
		for _, s := range []*Service{r.s, twin.s} {
			waitFor(t, func() bool {
				it := s.mirror.get(pk, r.clock.Now())
				return it != nil && string(it.raw) == last.Load()
			})
		}
	}
	twin.stop()
}

// waitFor waits until ok says yes, which takes a moment.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not within 10 s")
		}
		time.Sleep(time.Millisecond)
	}
}

// What one instance takes the others give out at once.
func TestInstancesShare(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Shared = true })
	twin := startRig(t, r.store, r.clock, func(o *Options) { o.Shared = true })
	for i := range byte(50) {
		e := r.client(0x40+i, nil)
		r.want("POST", entryPath, text(e), 200, wroteNew)
		twin.want("GET", entryPath+e.Static.String(), "", 200, text(e))
	}
	waitFor(t, func() bool { return twin.s.mirror.len() == 50 })
	e := r.client(0x40, nil)
	r.want("DELETE", "/dmsg-discovery/entry", text(e), 200, deleted)
	waitFor(t, func() bool { return twin.s.mirror.get(e.Static, r.clock.Now()) == nil })
	twin.stop()
}

// What was acknowledged is there after a restart.
func TestRestart(t *testing.T) {
	c := newClock()
	path := t.TempDir() + "/disc.db"
	st := openStore(t, path, c)
	r := startRig(t, st, c, nil)
	client, server := r.client(0x11, nil), r.server(0x22, nil)
	gone := r.client(0x12, nil)
	for _, e := range []*disc.Entry{client, server, gone} {
		r.want("POST", entryPath, text(e), 200, wroteNew)
	}
	r.want("DELETE", "/dmsg-discovery/entry", text(gone), 200, deleted)
	_, all := r.do("GET", "/dmsg-discovery/all_servers", "")
	r.stop()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = openStore(t, path, c)
	defer st.Close()
	r = startRig(t, st, c, nil)
	r.want("GET", entryPath+client.Static.String(), "", 200, text(client))
	r.want("GET", "/dmsg-discovery/all_servers", "", 200, all)
	r.wantFault("GET", entryPath+gone.Static.String(), "", disc.ErrNotFound)
	r.wantFault("POST", entryPath, text(gone), disc.ErrTimestampOrder)
	r.wantFault("POST", entryPath, text(client), disc.ErrSequence)
	r.stop()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.ReadRate, o.ReadBurst = 1, 5
		o.WriteRate, o.WriteBurst = 1, 4
		o.KeyRate, o.KeyBurst = 1, 2
		o.NewRate, o.NewBurst = 1, 2
	})
	for i := range 6 {
		rs := r.response("GET", "/dmsg-discovery/entries", "")
		rs.Body.Close()
		if want := i < 5; (rs.StatusCode == http.StatusOK) != want || (rs.Header.Get("Retry-After") == "") != want {
			t.Errorf("read %d: %d", i, rs.StatusCode)
		}
	}
	post := func(b byte, sequence uint64) int {
		status, _ := r.do("POST", entryPath, text(r.client(b, func(e *disc.Entry) { e.Sequence = sequence })))
		return status
	}
	got := []int{post(0x11, 0), post(0x11, 1), post(0x11, 2), post(0x12, 0), post(0x12, 1)}
	if want := []int{200, 200, 429, 200, 429}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("writes: %v, want %v", got, want)
	}
	r.clock.add(time.Minute)
	// Two new keys, then no more; the two go on.
	got = []int{post(0x13, 0), post(0x14, 0), post(0x15, 0), post(0x13, 1)}
	if want := []int{200, 200, 429, 200}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("new keys: %v, want %v", got, want)
	}
}

// Nobody uses up a key's allowance but who can sign for it.
func TestForgedEntriesDoNotCount(t *testing.T) {
	r := newRig(t, func(o *Options) { o.KeyRate, o.KeyBurst = 1, 1 })
	e := r.client(0x11, nil)
	forged := strings.Replace(text(e), `"sequence":0`, `"sequence":1`, 1)
	for range 5 {
		r.wantFault("POST", entryPath, forged, disc.ErrUnauthorized)
	}
	r.want("POST", entryPath, text(e), 200, wroteNew)
}

// Entries are public: whoever sends one again, to publish or to delete it, must not
// use up its author's allowance, or any relay could be kept out until it expires.
func TestReplayedEntriesDoNotCount(t *testing.T) {
	r := newRig(t, func(o *Options) { o.KeyRate, o.KeyBurst = 1, 2 })
	e, server := r.client(0x11, nil), r.server(0x22, nil)
	r.want("POST", entryPath, text(e), 200, wroteNew)
	r.want("POST", entryPath, text(server), 200, wroteNew)
	_, served := r.do("GET", entryPath+server.Static.String(), "")
	attacker := httpd.Caller{Addr: ip("192.0.2.66")}
	for range 5 {
		r.wantFault("POST", entryPath, text(e), disc.ErrSequence)
		for _, raw := range []string{text(e), served} {
			looked, err := disc.Parse([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.s.remove(t.Context(), looked, attacker); !errors.Is(err, disc.ErrOutdated) {
				t.Errorf("a replayed deletion: %v, want %v", err, disc.ErrOutdated)
			}
		}
	}
	next := func(e *disc.Entry) { e.Sequence++; e.Timestamp++ }
	r.want("POST", entryPath, text(r.client(0x11, next)), 200, wroteNext)
	r.want("POST", entryPath, text(r.server(0x22, next)), 200, wroteNext)
	// The authors' own do count.
	r.wantFault("POST", entryPath, text(r.client(0x11, func(e *disc.Entry) { e.Sequence, e.Timestamp = 2, e.Timestamp+1 })), disc.ErrRateLimited)
	del := r.client(0x11, func(e *disc.Entry) { e.Sequence, e.Timestamp = 3, e.Timestamp+2 })
	if err := r.s.remove(t.Context(), del, attacker); !errors.Is(err, disc.ErrRateLimited) {
		t.Errorf("one deletion too many: %v, want %v", err, disc.ErrRateLimited)
	}
}

func TestFull(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxEntries = 1 })
	r.want("POST", entryPath, text(r.client(0x11, nil)), 200, wroteNew)
	r.wantFault("POST", entryPath, text(r.client(0x12, nil)), errFull)
	r.want("POST", entryPath, text(r.client(0x11, func(e *disc.Entry) { e.Sequence = 1 })), 200, wroteNext)
}

func TestHealthAndMetrics(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Version = "v1.2.3" })
	pk, _ := keyPair(t, 0x66)
	r.host.SetDmsg(func() httpd.DmsgInfo {
		return httpd.DmsgInfo{Address: pk.String() + ":80", Servers: []cipher.PubKey{pk}}
	})
	r.want("POST", entryPath, text(r.server(0x22, nil)), 200, wroteNew)
	r.wantFault("POST", entryPath, "x", disc.ErrUnexpected)
	_, h := r.do("GET", "/health", "")
	for _, want := range []string{`"build_info":{"version":"v1.2.3","commit":`, `"started_at":"`, `"dmsg_address":"` + pk.String() + `:80"`, `"dmsg_servers":["` + pk.String()} {
		if !strings.Contains(h, want) {
			t.Errorf("health = %s, want %s in it", h, want)
		}
	}
	_, m := r.do("GET", "/metrics", "")
	for _, want := range []string{`dmsgdisc_requests_total{route="publish",code="200"} 1`, `dmsgdisc_requests_total{route="publish",code="other"} 1`, `dmsgdisc_entries{kind="server"} 1`, `dmsgdisc_available_sessions 10`, `dmsgdisc_store_lost 0`} {
		if !strings.Contains(m, want+"\n") {
			t.Errorf("metrics = %s\nwant %s in it", m, want)
		}
	}
	if status, _ := r.do(http.MethodHead, "/health", ""); status != 200 {
		t.Errorf("HEAD /health: %d", status)
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// A flood of writes waits for its turn and is refused in the end, not queued for
// ever.
func TestProofsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{proofs: make(chan struct{}, 1)}
		s.proofs <- struct{}{}
		start := time.Now()
		if err := s.prove(func() error { return nil }); !errors.Is(err, errBusy) || time.Since(start) != proveTimeout {
			t.Errorf("%v after %v, want %v after %v", err, time.Since(start), errBusy, proveTimeout)
		}
		time.AfterFunc(time.Second, func() { <-s.proofs })
		if err := s.prove(func() error { return nil }); err != nil || len(s.proofs) != 0 {
			t.Errorf("%v, %d places taken", err, len(s.proofs))
		}
	})
}
