package yamux

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	hashicorp "github.com/hashicorp/yamux"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcpPair returns the two ends of a connection on loopback.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	type accepted struct {
		conn net.Conn
		err  error
	}
	ch := make(chan accepted, 1)
	go func() {
		c, err := ln.Accept()
		ch <- accepted{c, err}
	}()
	a, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	acc := <-ch
	if acc.err != nil {
		t.Fatal(acc.err)
	}
	return a, acc.conn
}

// start makes a session that ends with the test.
func start(t testing.TB, conn net.Conn, cfg Config) *Session {
	t.Helper()
	s, err := New(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sessions returns a client and a server joined by loopback TCP.
func sessions(t testing.TB, client, server Config) (c, s *Session) {
	t.Helper()
	a, b := tcpPair(t)
	client.Client, server.Client = true, false
	return start(t, a, client), start(t, b, server)
}

// streams returns the two ends of a stream that c opens.
func streams(t testing.TB, c, s *Session) (a, b *Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := c.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, err = s.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// foreign makes a session of hashicorp/yamux that ends with the test.
func foreign(t testing.TB, conn net.Conn, client bool) *hashicorp.Session {
	t.Helper()
	cfg := hashicorp.DefaultConfig()
	cfg.LogOutput = io.Discard
	start := hashicorp.Server
	if client {
		start = hashicorp.Client
	}
	s, err := start(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// pattern returns n bytes that differ between streams and places.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8)*7 ^ byte(i>>16)*13 ^ seed
	}
	return p
}
