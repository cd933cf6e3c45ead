package httpd

import (
	"bufio"
	"context"
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

	"github.com/skyminer/skywire/dataplane/cipher"
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

// A header's forms are proxyproto's business.
func TestProxy(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	addr := serve(t, ListenOptions{PerSource: 1, Proxies: local})
	tests := []struct{ name, header, want string }{
		{"IPv4", "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", "192.0.2.7"},
		{"IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"},
		{"health check", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"none", "", ""},
		{"a bad one", "PROXY TCP4 x y 1 2\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ask(t, dial(t, addr), tt.header+request)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
	// Who is no proxy cannot say where it comes from.
	if got, err := ask(t, dial(t, serve(t, ListenOptions{})), "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n"+request); err == nil {
		t.Errorf("a stranger's header is believed: %q", got)
	}
}

// Behind a proxy each source has its places, and gives them back.
func TestConnectionsPerSourceBehindProxy(t *testing.T) {
	addr := serve(t, ListenOptions{PerSource: 1, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	from := func(ip string) string { return "PROXY TCP6 " + ip + " 2001:db8::1 1 2\r\n" + request }
	a, b := dial(t, addr), dial(t, addr)
	for c, ip := range map[net.Conn]string{a: "2001:db8::7", b: "2001:db8:0:1::7"} {
		if got, err := ask(t, c, from(ip)); err != nil || got != ip {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if got, err := ask(t, dial(t, addr), from("2001:db8::8")); err == nil {
		t.Errorf("a second connection of one /64 is served: %q", got)
	}
	a.Close()
	for end := time.Now().Add(10 * time.Second); ; {
		if got, err := ask(t, dial(t, addr), from("2001:db8::8")); err == nil && got == "2001:db8::8" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a closed connection stays taken")
		}
	}
}

// A dmsgConn is a connection whose peer has proven a key.
type dmsgConn struct {
	net.Conn
	pk cipher.PubKey
}

type dmsgAddr string

func (dmsgAddr) Network() string  { return "dmsg" }
func (a dmsgAddr) String() string { return string(a) }

func (c dmsgConn) RemoteAddr() net.Addr { return dmsgAddr(c.pk.String() + ":49152") }

// A dmsgListener hands out connections until it is closed.
type dmsgListener struct {
	net.Listener
	conns chan net.Conn
}

func (l dmsgListener) Accept() (net.Conn, error) { return <-l.conns, nil }

// Over dmsg, where all come by the same few relays, each key has its places.
func TestConnectionsPerKey(t *testing.T) {
	l := dmsgListener{conns: make(chan net.Conn, 8)}
	w := Wrap(l, ListenOptions{Over: OverDmsg, PerSource: 2})
	pkA, _ := cipher.GenerateKeyPair()
	pkB, _ := cipher.GenerateKeyPair()
	connect := func(pk cipher.PubKey) net.Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close(); there.Close() })
		l.conns <- dmsgConn{there, pk}
		return here
	}
	connect(pkA)
	connect(pkA)
	tooMany := connect(pkA)
	connect(pkB)
	var got []net.Conn
	for range 3 {
		c, err := w.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if last := got[2].RemoteAddr().String(); !strings.HasPrefix(last, pkB.String()) {
		t.Errorf("the third one is of %s", last)
	}
	if _, err := tooMany.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a third connection of a key stays open: %v", err)
	}
	got[0].Close()
	connect(pkA)
	if c, err := w.Accept(); err != nil || !strings.HasPrefix(c.RemoteAddr().String(), pkA.String()) {
		t.Errorf("the place of a closed connection stays taken: %v", err)
	}
}
