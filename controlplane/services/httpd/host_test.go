package httpd

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// A echo is a service that answers with the path it was asked for.
type echo struct{ name string }

func (e echo) Handler(Over) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		rc.SetBodyString(e.name + " " + string(rc.Path()) + " " + string(rc.Request.Header.RequestURI()))
	}
}

func (e echo) Run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

func (e echo) WriteMetrics(w io.Writer) { _, _ = io.WriteString(w, e.name+"_things 7\n") }

func (e echo) Report(h *Health) { h.StoreLost = time.Unix(1e9, 0).UTC() }

func startHost(t *testing.T, mounts ...Mount) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := NewHost(HostOptions{Version: "v1", Now: time.Now, Log: zerolog.Nop()}, mounts...)
	h.SetDmsg(func() DmsgInfo { return DmsgInfo{Address: "02aa:80"} })
	ctx, cancel := context.WithCancel(t.Context())
	done, up := make(chan error, 1), make(chan struct{})
	go func() { done <- h.Run(ctx, l, func() { close(up) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-up
	return "http://" + l.Addr().String()
}

func fetch(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
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
	return resp.StatusCode, string(b)
}

func TestHostMounts(t *testing.T) {
	url := startHost(t,
		Mount{Name: "root", Service: echo{"root"}},
		Mount{Name: "tpd", Prefix: "/tpd", Service: echo{"tpd"}},
		Mount{Name: "once", Prefix: "/once", Service: echo{"once"}, Limits: Limits{Reads: 1e-9, Writes: 1}})
	tests := []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/", 200, "root / /"},
		{"GET", "/tpdx", 200, "root /tpdx"},
		{"GET", "/tpd", 200, "tpd / /tpd"},
		{"POST", "/tpd/transports/?a=b", 200, "tpd /transports/ /tpd/transports/?a=b"},
		{"GET", "/tpd/health", 200, `"services":["root","tpd","once"]`},
		{"GET", "/tpd/health", 200, `"store_lost_since":"2001-09-09`},
		{"GET", "/health", 200, `"dmsg_address":"02aa:80"`},
		{"GET", "/once/a", 200, "once /a"},
		{"GET", "/once/a", 429, `{"error":"too many requests of one source","code":"rate"}`},
		{"PUT", "/once/a", 200, "once /a"},
		{"GET", "/metrics", 200, "tpd_things 7"},
		{"GET", "/tpd/metrics", 200, `skywire_requests_total{service="once",code="429"} 1`},
		{"POST", "/health", 200, "root /health"},
	}
	for _, tt := range tests {
		status, body := fetch(t, tt.method, url+tt.path)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s, want %d and %q", tt.method, tt.path, status, body, tt.status, tt.want)
		}
	}
}

func TestHostWithoutRoot(t *testing.T) {
	url := startHost(t, Mount{Name: "tpd", Prefix: "/tpd", Service: echo{"tpd"}})
	for _, tt := range []struct {
		method, path string
		status       int
	}{{"GET", "/", 404}, {"GET", "/health", 200}, {"GET", "/metrics", 200}, {"POST", "/metrics", 405}, {"GET", "/tpd/x", 200}} {
		if status, body := fetch(t, tt.method, url+tt.path); status != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, status, body, tt.status)
		}
	}
}
