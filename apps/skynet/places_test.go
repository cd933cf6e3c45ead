package skynet

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPlaces(t *testing.T) {
	tests := []struct {
		name  string
		spec  Spec
		limit int
		share int
	}{
		{"public", Spec{Public: true}, 256, 64},
		{"one key", Spec{Allow: []string{"a"}}, 256, 256},
		{"two keys", Spec{Allow: []string{"a", "b"}}, 256, 128},
		{"many keys", Spec{Allow: make([]string, 9)}, 256, 64},
		{"few places", Spec{Public: true}, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlaces(&tt.spec, tt.limit, "things")
			for i := range tt.share {
				if full := p.enter("a"); full != "" {
					t.Fatalf("place %d: %s", i, full)
				}
			}
			if p.enter("a") == "" {
				t.Errorf("more than %d places", tt.share)
			}
			for range tt.limit - tt.share {
				if full := p.enter(""); full != "" { // of this machine: no share
					t.Fatal(full)
				}
			}
			if full := p.enter("b"); !strings.Contains(full, "over the limit") {
				t.Errorf("over the limit: %q", full)
			}
			p.leave("a")
			if full := p.enter("a"); full != "" {
				t.Errorf("a place given back: %s", full)
			}
		})
	}
}

// TestShareTCP: one key took all connections of a public forward.
func TestShareTCP(t *testing.T) {
	f := newFabric()
	a, c := f.service(t, "a", nil), f.service(t, "c", nil)
	b := f.service(t, "b", func(cfg *Config) { cfg.MaxConns = 8 })
	add(t, b, "x", Spec{Public: true, Expose: listen(t, func(c *net.TCPConn) { io.Copy(c, c) }), Port: 80})
	from := add(t, a, "r", Spec{Reach: "b:80", Local: "127.0.0.1:0"})
	one, two := dial(t, "tcp", from), dial(t, "tcp", from)
	ask(t, one, []byte("x"))
	ask(t, two, []byte("x"))
	if three, err := net.Dial("tcp", from); err == nil { // or reset before it is connected
		three.SetDeadline(time.Now().Add(10 * time.Second))
		if n, err := three.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the third of two read %d bytes, %v", n, err)
		}
		three.Close()
	}
	eventually(t, "the third is refused", func() bool { return find(t, b, "x").Refused == 1 })
	if i := find(t, b, "x"); !strings.Contains(i.LastError, "a is over its share of 2 connections") {
		t.Errorf("got %+v", i)
	}
	ask(t, dial(t, "tcp", add(t, c, "r", Spec{Reach: "b:80", Local: "127.0.0.1:0"})), []byte("x"))
	one.Close()
	eventually(t, "the place is free", func() bool { return find(t, b, "x").Open == 2 })
	ask(t, dial(t, "tcp", from), []byte("x"))
}

// TestShareUDP: one key, with many ports, took all clients of a public forward.
func TestShareUDP(t *testing.T) {
	f := newFabric()
	a, c := f.service(t, "a", nil), f.service(t, "c", nil)
	b := f.service(t, "b", func(cfg *Config) { cfg.MaxClients = 8 })
	add(t, b, "x", Spec{UDP: true, Public: true, Expose: echoUDP(t), Port: 53})
	from := add(t, a, "r", Spec{UDP: true, Reach: "b:53", Local: "127.0.0.1:0"})
	ask(t, dial(t, "udp", from), []byte("x"))
	ask(t, dial(t, "udp", from), []byte("x"))
	three := dial(t, "udp", from)
	eventually(t, "the third of two is refused", func() bool {
		three.Write([]byte("x"))
		i := find(t, b, "x")
		return i.Refused > 0 && strings.Contains(i.LastError, "a is over its share of 2 UDP clients")
	})
	ask(t, dial(t, "udp", add(t, c, "r", Spec{UDP: true, Reach: "b:53", Local: "127.0.0.1:0"})), []byte("x"))
}
