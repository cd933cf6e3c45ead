package scenario

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/bench/topo"
)

func TestDisc(t *testing.T) {
	for _, store := range []string{"bolt", "redis"} {
		t.Run(store, func(t *testing.T) {
			e := testEnv(t)
			if _, err := exec.LookPath("redis-server"); err != nil && store == "redis" {
				if os.Getenv("CI") == "true" {
					t.Fatal("needs redis-server, and CI must have it")
				}
				t.Skip("needs redis-server: apt-get install redis-server")
			}
			e.Store, e.Pairs, e.Streams, e.Sessions = store, 1, 4, 50
			m := wantMetrics(t, Disc(), e, "lookups_per_s", "p50_ms", "p99_ms", "updates_per_s", "update_p50_ms", "update_p99_ms")
			if m["entries"] != 50 || m["p50_ms"] > m["p99_ms"] {
				t.Errorf("metrics %v", m)
			}
		})
	}
}

func TestNoRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := startRedis(t.Context(), (*topo.Namespace)(nil), t.TempDir()); err == nil || !strings.Contains(err.Error(), "package redis-server") {
		t.Errorf("error %v, want one that says what to install", err)
	}
}

// A discovery that answers with anything but the entry is noticed.
func TestDiscCheck(t *testing.T) {
	l, err := newListing()
	if err != nil {
		t.Fatal(err)
	}
	older := *l
	if l.entry, err = l.next(l.entry); err != nil {
		t.Fatal(err)
	}
	if err := l.entry.Verify(); err != nil || l.entry.Sequence != 1 {
		t.Errorf("update %d: %v", l.entry.Sequence, err)
	}
	tests := []struct {
		name   string
		status int
		body   string
		good   bool
	}{
		{"the entry", http.StatusOK, string(l.entry.Raw()), true},
		{"the entry before", http.StatusOK, string(older.entry.Raw()), false},
		{"nothing", http.StatusOK, "", false},
		{"a refusal", http.StatusNotFound, string(l.entry.Raw()), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			asked := make(chan string, 1)
			go func() {
				defer close(asked)
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				rq, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				asked <- rq.URL.Path
				fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", tt.status, len(tt.body), tt.body)
			}()
			a, err := newAsker(ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer a.conn.Close()
			if err := a.lookUp([]*listing{l}, time.Now()); err != nil {
				t.Errorf("after the end: %v", err)
			}
			if err := a.check(l); (err == nil) != tt.good {
				t.Errorf("%v, want it good: %v", err, tt.good)
			}
			if got, want := <-asked, "/dmsg-discovery/entry/"+l.entry.Static.String(); got != want {
				t.Errorf("asked for %q, want %q", got, want)
			}
			if len(a.times) != 1 {
				t.Errorf("%d times noted, want 1", len(a.times))
			}
		})
	}
}

// What is signed beforehand rises by one, turn by turn.
func TestDiscSign(t *testing.T) {
	a := &asker{}
	for range 2 {
		l, err := newListing()
		if err != nil {
			t.Fatal(err)
		}
		a.own = append(a.own, l)
	}
	if err := a.sign(5); err != nil {
		t.Fatal(err)
	}
	for i, e := range a.coming {
		if own := a.own[i%2].entry; e.Static != own.Static || e.Sequence != uint64(i/2+1) || e.Timestamp <= own.Timestamp {
			t.Errorf("update %d: %s %d, want %s %d", i, e.Static, e.Sequence, own.Static, i/2+1)
		}
	}
}

func TestParseCPU(t *testing.T) {
	const text = "123 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 8 0 1 2 3"
	if got, err := parseCPU([]byte(text)); err != nil || got != 1.75 {
		t.Errorf("%v, %v, want 1.75", got, err)
	}
	for _, bad := range []string{"", "1 (a) S 1 2", strings.Replace(text, "25", "x", 1)} {
		if got, err := parseCPU([]byte(bad)); err == nil {
			t.Errorf("%q: %v and no error", bad, got)
		}
	}
	if got, err := cpuOf(os.Getpid()); err != nil || got < 0 {
		t.Errorf("own: %v, %v", got, err)
	}
}
