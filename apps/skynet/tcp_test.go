package skynet

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// listen runs a local TCP service.
func listen(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// dial connects to a local address, with a deadline for all that follows.
func dial(t *testing.T, network, to string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come true: %s", what)
		}
	}
}

// pair exposes target at key b and reaches it from a.
func pair(t *testing.T, f *fabric, target string) (a, b *Service, local string) {
	t.Helper()
	a, b = f.service(t, "a", nil), f.service(t, "b", nil)
	add(t, b, "x", Spec{Expose: target, Port: 80, Allow: []string{"a"}})
	return a, b, add(t, a, "r", Spec{Reach: "b:80", Local: "127.0.0.1:0"})
}

// TestTransferAndHalfClose sends, closes its half, and still gets the answer.
func TestTransferAndHalfClose(t *testing.T) {
	target := listen(t, func(c *net.TCPConn) {
		h := sha256.New()
		n, _ := io.Copy(h, c) // until the client's half-close
		fmt.Fprintf(c, "%d %x", n, h.Sum(nil))
	})
	a, b, local := pair(t, newFabric(), target)
	data := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := dial(t, "tcp", local).(*net.TCPConn)
			if _, err := c.Write(data); err != nil {
				t.Error(err)
			}
			c.CloseWrite()
			got, err := io.ReadAll(c)
			if want := fmt.Sprintf("%d %x", len(data), sha256.Sum256(data)); err != nil || string(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
	wg.Wait()
	for _, s := range []*Service{a, b} {
		eventually(t, "all connections end", func() bool { return s.List()[0].Open == 0 })
		i := s.List()[0]
		if i.Connections != 4 || i.Failed != 0 || i.Refused != 0 || i.LastError != "" {
			t.Errorf("got %+v", i)
		}
	}
	ia, ib := a.List()[0], b.List()[0]
	if ia.SentBytes != uint64(4*len(data)) || ib.RecvBytes != ia.SentBytes || ia.RecvBytes != ib.SentBytes || ia.RecvBytes < 64 {
		t.Errorf("a sent %d, got %d; b got %d, sent %d", ia.SentBytes, ia.RecvBytes, ib.RecvBytes, ib.SentBytes)
	}
}

// TestPlainStreams runs over streams that can only read, write and close.
func TestPlainStreams(t *testing.T) {
	f := newFabric()
	f.plain = true
	a, _, local := pair(t, f, listen(t, func(c *net.TCPConn) { io.Copy(c, c) }))
	c := dial(t, "tcp", local)
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
		t.Fatalf("got %q, %v", b, err)
	}
	if i := a.List()[0]; i.Open != 1 {
		t.Errorf("while it is open: %+v", i)
	}
	// A write is counted when it returns, which may be after the echo.
	eventually(t, "all is counted", func() bool { i := a.List()[0]; return i.RecvBytes == 4 && i.SentBytes == 4 })
}

func TestRefused(t *testing.T) {
	f := newFabric()
	a, b := f.service(t, "a", nil), f.service(t, "b", func(c *Config) { c.MaxConns = 1 })
	hold := listen(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	add(t, b, "list", Spec{Expose: hold, Port: 1, Allow: []string{"someone", "else"}})
	add(t, b, "dead", Spec{Expose: "127.0.0.1:1", Port: 2, Public: true})
	add(t, b, "one", Spec{Expose: hold, Port: 3, Public: true})
	tests := []struct {
		name, reach string
		hold        bool     // with one connection there already
		at          *Service // where it shows
		id, want    string   // as what
	}{
		{"not allowed", "b:1", false, b, "list", "a is not allowed and was refused"},
		{"service is down", "b:2", false, b, "dead", "local service: dial tcp 127.0.0.1:1"},
		{"over the limit", "b:3", true, b, "one", "over the limit of 1 connections"},
		{"no such port", "b:9", false, a, "no such port", "refused the connection"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local := add(t, a, tt.name, Spec{Reach: tt.reach, Local: "127.0.0.1:0"})
			if tt.hold {
				dial(t, "tcp", local)
				eventually(t, "the first is there", func() bool { return find(t, tt.at, tt.id).Open == 1 })
			}
			// The reset may come before connect(2) returns.
			if c, err := net.Dial("tcp", local); err == nil {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				if n, err := c.Read(make([]byte, 1)); err == nil || n != 0 || isTimeout(err) {
					t.Errorf("the client reads %d, %v; want its connection closed at once", n, err)
				}
			}
			eventually(t, "the error is listed", func() bool { return strings.Contains(find(t, tt.at, tt.id).LastError, tt.want) })
			i := find(t, tt.at, tt.id)
			if i.Refused+i.Failed == 0 || i.LastErrorAt.IsZero() {
				t.Errorf("not counted: %+v", i)
			}
		})
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// TestReset: a connection that breaks on one side breaks on the other.
func TestReset(t *testing.T) {
	target := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	})
	_, _, local := pair(t, newFabric(), target)
	c := dial(t, "tcp", local)
	c.Write([]byte("x"))
	if _, err := io.ReadAll(c); err == nil || isTimeout(err) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestRemoveClosesConnections(t *testing.T) {
	a, b, local := pair(t, newFabric(), listen(t, func(c *net.TCPConn) { io.Copy(c, c) }))
	c := dial(t, "tcp", local)
	c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := a.Remove("r"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the client reads %v, want its connection closed", err)
	}
	if _, err := net.Dial("tcp", local); err == nil {
		t.Error("the port is still open")
	}
	eventually(t, "the other side ends too", func() bool { return b.List()[0].Open == 0 })
	if err := a.Remove("r"); !errors.Is(err, ErrNotFound) {
		t.Errorf("second Remove: %v", err)
	}
	if i := a.List(); len(i) != 0 {
		t.Errorf("still listed: %+v", i)
	}
}

func TestAdd(t *testing.T) {
	f := newFabric()
	s := f.service(t, "a", nil)
	tests := []struct {
		name string
		spec Spec
	}{
		{"nothing", Spec{}},
		{"both", Spec{Expose: "h:1", Port: 1, Public: true, Reach: "b:1", Local: "127.0.0.1:0"}},
		{"no port", Spec{Expose: "h:1", Public: true}},
		{"for nobody", Spec{Expose: "h:1", Port: 1}},
		{"for all and some", Spec{Expose: "h:1", Port: 1, Public: true, Allow: []string{"b"}}},
		{"nowhere", Spec{Reach: "b:1"}},
		{"bad local", Spec{Reach: "b:1", Local: "nonsense"}},
		{"bad local UDP", Spec{Reach: "b:1", Local: "nonsense", UDP: true}},
	}
	for _, tt := range tests {
		if err := s.Add(tt.name, tt.spec); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
	ok := Spec{Expose: "h:1", Port: 1, Public: true}
	add(t, s, "x", ok)
	if err := s.Add("x", ok); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	if err := s.Add("y", ok); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("same port: %v", err)
	}
	s.Close()
	if err := s.Add("z", ok); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestBothWays: nothing is lost when both sides write and close at once.
func TestBothWays(t *testing.T) {
	answer := bytes.Repeat([]byte("down"), 1<<18)
	target := listen(t, func(c *net.TCPConn) {
		done := make(chan struct{})
		go func() { io.Copy(io.Discard, c); close(done) }()
		c.Write(answer)
		c.CloseWrite()
		<-done
	})
	_, _, local := pair(t, newFabric(), target)
	c := dial(t, "tcp", local).(*net.TCPConn)
	go func() { c.Write(bytes.Repeat([]byte("up"), 1<<18)); c.CloseWrite() }()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(answer))
	}
}
