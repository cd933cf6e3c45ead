// Package servicetest runs services for tests, over a store in a temporary file and
// with a clock that the test sets, and makes callers of them.
package servicetest

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/httpauth"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/nonce"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Clock is set by tests; it stands still otherwise. It may be used concurrently.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at now.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A Rig is a running service.
type Rig struct {
	URL   string
	Store store.Store
}

// Open opens a store: that at url, or one in a temporary file where url is "".
func Open(t testing.TB, url string, now func() time.Time) store.Store {
	t.Helper()
	if url == "" {
		url = "bolt://" + filepath.Join(t.TempDir(), "test.db")
	}
	o := store.DefaultOptions()
	o.Now = now
	st, err := store.Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// Main runs the tests of a package and fails where goroutines are left, but for those
// that fasthttp leaves.
func Main(m *testing.M, also ...goleak.Option) {
	goleak.VerifyTestMain(m, append(also,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))...)
}

// Serve serves mounts on loopback, over HTTP, until the test ends, and returns the URL.
func Serve(t testing.TB, mounts ...httpd.Mount) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := httpd.NewHost(httpd.HostOptions{Version: "test", Now: time.Now, Log: zerolog.Nop()}, mounts...)
	ctx, cancel := context.WithCancel(context.Background())
	done, up := make(chan error, 1), make(chan struct{})
	go func() { done <- h.Run(ctx, l, func() { close(up) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-up:
	case err := <-done:
		done <- nil
		t.Fatal("the host has ended:", err)
	}
	return "http://" + l.Addr().String()
}

// Run serves what build makes over st, as Serve does. Its requests are verified by the
// system's clock.
func Run(t testing.TB, st store.Store, build func(st store.Store, v *httpauth.Verifier) (httpd.Service, error)) *Rig {
	t.Helper()
	v := httpauth.NewVerifier(httpauth.Options{Nonces: nonce.New(st, time.Now)})
	service, err := build(st, v)
	if err != nil {
		t.Fatal(err)
	}
	return &Rig{URL: Serve(t, httpd.Mount{Name: "test", Service: service}), Store: st}
}

// A Caller is a visor as services see it.
type Caller struct {
	*deployment.Caller
	PK cipher.PubKey
	SK cipher.SecKey
}

// NewCaller returns a caller with a new key.
func NewCaller(t testing.TB) Caller {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	rt := deployment.NewRoundTripper(nil)
	t.Cleanup(rt.CloseIdleConnections)
	return Caller{deployment.NewCaller(sk, rt, zerolog.Nop()), pk, sk}
}

// Do makes a bare request and returns status, header and body.
func (r *Rig) Do(t testing.TB, method, path, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// Eventually waits until ok says yes.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
