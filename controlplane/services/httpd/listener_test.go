package httpd

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// serve runs a server that answers with the caller's address.
func serve(t *testing.T, o ListenOptions) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := NewServer("test", func(rc *fasthttp.RequestCtx) { rc.SetBodyString(CallerOf(rc, OverTCP).Addr.String()) }, zerolog.Nop())
	go func() { done <- Serve(ctx, s, Wrap(l, o)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// ask sends text over a connection of its own and returns the answer's body.
func ask(t *testing.T, c net.Conn, text string) (string, error) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	rs, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer rs.Body.Close()
	body, err := io.ReadAll(rs.Body)
	if rs.StatusCode != http.StatusOK {
		return "", errors.New(rs.Status)
	}
	return string(body), err
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestConnectionsPerSource(t *testing.T) {
	addr := serve(t, ListenOptions{PerSource: 2})
	a, b := dial(t, addr), dial(t, addr)
	for _, open := range []net.Conn{a, b} {
		if got, err := ask(t, open, request); err != nil || got != "127.0.0.1" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if got, err := ask(t, dial(t, addr), request); err == nil {
		t.Errorf("a third connection is served: %q", got)
	}
	a.Close()
	// The place is free as soon as the server has seen that.
	for end := time.Now().Add(10 * time.Second); ; {
		if got, err := ask(t, dial(t, addr), request); err == nil && got == "127.0.0.1" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a closed connection stays taken")
		}
	}
}

func TestProxy(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	addr := serve(t, ListenOptions{PerSource: 1, Proxies: local})
	v2 := func(h string) string {
		b, err := hex.DecodeString(strings.ReplaceAll(h, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return proxySig2 + string(b)
	}
	tests := []struct{ name, header, want string }{
		{"v1", "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", "192.0.2.7"},
		{"v1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"},
		{"v1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"v2", v2("21 11 000c c0000207 c0000201 dc04 01bb"), "192.0.2.7"},
		{"v2, with TLVs", v2("21 11 0010 c0000207 c0000201 dc04 01bb 04 0001 00"), "192.0.2.7"},
		{"v2, IPv6", v2("21 21 0024 20010db8000000000000000000000007 20010db8000000000000000000000001 0001 0002"), "2001:db8::7"},
		{"v2, health check", v2("20 00 0000"), "127.0.0.1"},
		{"none", "", ""},
		{"v1, no address", "PROXY TCP4 x y 1 2\r\n", ""},
		{"v1, another family", "PROXY TCP4 ::1 ::1 1 2\r\n", ""},
		{"v1, no end", "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		{"v2, version 3", v2("31 11 000c c0000207 c0000201 dc04 01bb"), ""},
		{"v2, too short", v2("21 11 0004 c0000207"), ""},
		{"v2, too long", v2("21 11 ffff"), ""},
		{"v2, UDP", v2("21 12 000c c0000207 c0000201 dc04 01bb"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ask(t, dial(t, addr), tt.header+request)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
	// In pieces, and slowly.
	c := dial(t, addr)
	header := v2("21 11 000c c0000207 c0000201 dc04 01bb")
	for i := range header {
		if _, err := io.WriteString(c, header[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ask(t, c, request); err != nil || got != "192.0.2.7" {
		t.Errorf("in pieces: %q, %v", got, err)
	}
	// Who is no proxy cannot say where it comes from.
	if got, err := ask(t, dial(t, serve(t, ListenOptions{})), "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n"+request); err == nil {
		t.Errorf("a stranger's header is believed: %q", got)
	}
}

func FuzzProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\nx"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(proxySig2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, n, err := parseProxy(b)
		if n < 0 || n > len(b) || n > maxProxy2 || err != nil && (n != 0 || from.IsValid()) {
			t.Fatalf("%v, %d, %v", from, n, err)
		}
		if n == 0 && err == nil && len(b) >= maxProxy2 {
			t.Fatal("wants more than any header has")
		}
		for i := range b[:n] { // what is short of a header is never taken for one
			if _, m, err := parseProxy(b[:i]); m != 0 || err != nil {
				t.Fatalf("%d of %d bytes: %d, %v", i, n, m, err)
			}
		}
	})
}
