package disc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a discovery that answers every request with f.
func serve(t *testing.T, f http.HandlerFunc) *HTTPClient {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// say answers every request with the same.
func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{"", "host:9090", "ftp://x", "dmsg://02@x", "http://", "http://x?y=1", "http://x/#y", "http://a b"} {
		if c, err := New(u, HTTPOptions{}); err == nil {
			t.Errorf("New(%q) = %v", u, c)
		}
	}
	if _, err := New("dmsg://0211:80", HTTPOptions{Transport: http.DefaultTransport}); err != nil {
		t.Errorf("an address for the transport that was given: %v", err)
	}
}

// Each text of the deployed discovery becomes the error that callers branch on.
func TestFaults(t *testing.T) {
	a, sk := keyPair(t, 0x11)
	e := NewClient(a, "", nil, time.Now())
	if err := e.Sign(sk); err != nil {
		t.Fatal(err)
	}
	for _, f := range faults() {
		c := serve(t, say(f.Status, fmt.Sprintf(`{"message":%q,"code":%d}`, f.Text, f.Status)))
		if err := c.Put(t.Context(), e); !errors.Is(err, f) {
			t.Errorf("Put = %v, want %v", err, f)
		}
	}
	var f *Fault
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		check   func(error) bool
	}{
		{"another text", say(418, `{"message":"tea","code":418}`), func(err error) bool { return errors.As(err, &f) && *f == Fault{418, "tea"} }},
		{"rate limit in other words", say(429, `slow down`), func(err error) bool { return errors.Is(err, ErrRateLimited) }},
		{"no discovery", say(404, `<html>`), func(err error) bool {
			return errors.As(err, &f) && strings.Contains(f.Text, "is it a dmsg discovery?")
		}},
		{"a long text", say(400, `{"message":"`+strings.Repeat("é", 1000)+`"}`), func(err error) bool {
			return errors.As(err, &f) && len(f.Text) <= maxFaultText
		}},
	} {
		if err := serve(t, tt.handler).Put(t.Context(), e); !tt.check(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	c, _ := New(gone.URL, HTTPOptions{})
	if _, err := c.Entry(t.Context(), a); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Entry(ctx, a); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Put(t.Context(), NewClient(a, "", nil, time.Now())); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("an unsigned entry is sent: %v", err)
	}
}

// What a discovery says is not believed.
func TestClientVerifies(t *testing.T) {
	a, _ := keyPair(t, 0x11)
	b, skB := keyPair(t, 0x22)
	server := NewServer(b, "1.2.3.4:8081", 5, time.Now())
	server.Server.ServerType = "pass-phrase"
	server.Client = &Client{DelegatedServers: []cipher.PubKey{a}}
	if err := server.Sign(skB); err != nil {
		t.Fatal(err)
	}
	retyped := string(server.WithServerType(Community).Raw())
	forged := strings.Replace(goldenClient, `"sequence":0`, `"sequence":1`, 1)
	tests := []struct {
		name, body string
		pk         cipher.PubKey
		want       error
	}{
		{"golden", goldenClient, a, nil},
		{"forged", forged, a, ErrSignature},
		{"another's", goldenClient, b, ErrAnswer},
		{"no entry", `[]`, a, ErrAnswer},
		{"no JSON", `x`, a, ErrAnswer},
		{"server whose type was overwritten", retyped, b, nil},
		{"too long", `"` + strings.Repeat("x", maxBody) + `"`, a, ErrAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := serve(t, say(200, tt.body)).Entry(t.Context(), tt.pk)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("Entry = %v, want %v", err, tt.want)
			}
			if err == nil && e.Server != nil && e.Client != nil {
				t.Error("what nobody can verify is believed about a client")
			}
		})
	}
	list, err := serve(t, say(200, "["+forged+","+retyped+",{}]")).AllServers(t.Context())
	if err != nil || len(list) != 1 || list[0].Static != b {
		t.Errorf("AllServers = %v, %v", list, err)
	}
	if _, err := serve(t, say(200, "null")).AvailableServers(t.Context()); !errors.Is(err, ErrNoServers) {
		t.Errorf("AvailableServers of null: %v", err)
	}
}

// The second time a discovery that knows ETags need not send the entry again.
func TestConditional(t *testing.T) {
	a, _ := keyPair(t, 0x11)
	var sent, spared atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			spared.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		sent.Add(1)
		_, _ = io.WriteString(w, goldenClient)
	})
	first, err := c.Entry(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Entry(t.Context(), a); err != nil || again != first || sent.Load() != 1 || spared.Load() != 1 {
		t.Errorf("%v; sent %d times, spared %d times", err, sent.Load(), spared.Load())
	}
	for i := range 2 * maxCached {
		c.cache.put(fmt.Sprint(i), cached{etag: "x", parsed: first})
	}
	if len(c.cache.answers) > maxCached {
		t.Errorf("%d answers are remembered", len(c.cache.answers))
	}
}

func TestEntries(t *testing.T) {
	a, _ := keyPair(t, 0x11)
	b, _ := keyPair(t, 0x22)
	handlers := map[string]http.HandlerFunc{
		"batch": func(w http.ResponseWriter, r *http.Request) {
			var keys []string
			if err := json.NewDecoder(r.Body).Decode(&keys); err != nil || r.URL.Path != "/dmsg-discovery/entries/batch" || len(keys) != 2 {
				t.Errorf("%s %v: %v", r.URL, keys, err)
			}
			fmt.Fprintf(w, `{"%s":%s}`, a, goldenClient)
		},
		"one by one": func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPost:
				w.WriteHeader(http.StatusMethodNotAllowed)
			case strings.HasSuffix(r.URL.Path, a.String()):
				_, _ = io.WriteString(w, goldenClient)
			default:
				say(404, `{"message":"entry of public key is not found","code":404}`)(w, r)
			}
		},
	}
	for name, handler := range handlers {
		got, err := serve(t, handler).Entries(t.Context(), []cipher.PubKey{a, b})
		if err != nil || len(got) != 1 || got[a] == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := serve(t, say(200, fmt.Sprintf(`{"%s":%s}`, b, goldenClient))).Entries(t.Context(), []cipher.PubKey{b}); !errors.Is(err, ErrAnswer) {
		t.Errorf("another's entry in a batch: %v", err)
	}
}
