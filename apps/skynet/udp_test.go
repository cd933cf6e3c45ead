package skynet

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

// echoUDP runs a local service that answers with its client's port in front.
func echoUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().String()
}

// ask sends a datagram and returns the answer.
func ask(t *testing.T, c net.Conn, msg []byte) []byte {
	t.Helper()
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestUDP(t *testing.T) {
	f := newFabric()
	a, b := f.service(t, "a", nil), f.service(t, "b", nil)
	add(t, b, "x", Spec{UDP: true, Expose: echoUDP(t), Port: 53, Allow: []string{"a"}})
	local := add(t, a, "r", Spec{UDP: true, Reach: "b:53", Local: "127.0.0.1:0"})
	one, two := dial(t, "udp", local), dial(t, "udp", local)
	// Interleaved: each client gets its own answers, each datagram stays one.
	for i := range 20 {
		for _, c := range []net.Conn{one, two} {
			msg := []byte(c.LocalAddr().String() + strings.Repeat("x", i*1000))
			if got := ask(t, c, msg); !bytes.Equal(got, msg) {
				t.Fatalf("sent %d bytes, got %d", len(msg), len(got))
			}
		}
	}
	if got := ask(t, one, nil); len(got) != 0 {
		t.Errorf("an empty datagram comes back with %d bytes", len(got))
	}
	for _, s := range []*Service{a, b} {
		i := s.List()[0]
		if i.Open != 2 || i.Connections != 2 || i.RecvBytes != i.SentBytes || i.RecvBytes < 380000 || i.LastError != "" {
			t.Errorf("got %+v", i)
		}
	}
}

func TestUDPRefused(t *testing.T) {
	f := newFabric()
	a, b := f.service(t, "a", nil), f.service(t, "b", nil)
	add(t, b, "x", Spec{UDP: true, Expose: echoUDP(t), Port: 53, Allow: []string{"c"}})
	for id, want := range map[string]struct {
		spec Spec
		at   *Service
		id   string
		text string
	}{
		"denied":   {Spec{UDP: true, Reach: "b:53", Local: "127.0.0.1:0"}, b, "x", "a is not allowed"},
		"no route": {Spec{UDP: true, Reach: "z:53", Local: "127.0.0.1:0"}, a, "no route", "no route to z"},
	} {
		c := dial(t, "udp", add(t, a, id, want.spec))
		c.Write([]byte("hello"))
		eventually(t, id, func() bool { return strings.Contains(find(t, want.at, want.id).LastError, want.text) })
	}
	if i := find(t, b, "x"); i.Open != 0 || i.RecvBytes != 0 || i.Refused == 0 {
		t.Errorf("got %+v", i)
	}
}

// TestUDPIdle: a silent client is forgotten and welcome again; one that talks stays.
func TestUDPIdle(t *testing.T) {
	f := newFabric()
	a := f.service(t, "a", func(c *Config) { c.UDPIdle = 20 * time.Millisecond; c.MaxClients = 1 })
	b := f.service(t, "b", nil)
	add(t, b, "x", Spec{UDP: true, Expose: echoUDP(t), Port: 53, Public: true})
	local := add(t, a, "r", Spec{UDP: true, Reach: "b:53", Local: "127.0.0.1:0"})
	c := dial(t, "udp", local)
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		ask(t, c, []byte("still here"))
	}
	if i := a.List()[0]; i.Connections != 1 {
		t.Errorf("a client that talks was forgotten: %+v", i)
	}
	other := dial(t, "udp", local)
	eventually(t, "another is refused or welcome once the first is forgotten", func() bool {
		other.Write([]byte("me too"))
		i := a.List()[0]
		return i.Refused > 0 || i.Connections == 2
	})
	eventually(t, "both are forgotten", func() bool { return a.List()[0].Open == 0 })
	ask(t, c, []byte("again"))
}
