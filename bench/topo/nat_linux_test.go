package topo

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// internet makes an Internet that goes with the test.
func internet(t *testing.T, ipv6 bool) *Internet {
	t.Helper()
	needRoot(t)
	n, err := New(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	in, err := n.Internet(ipv6)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func (in *Internet) mustHost(t *testing.T, name string, kind NAT) *Host {
	t.Helper()
	h, err := in.Host(name, kind, Wire{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A sock is a UDP socket of a host.
type sock struct {
	net.PacketConn
	t    *testing.T
	addr netip.AddrPort
}

func (h *Host) sock(t *testing.T, addr netip.Addr, port uint16) *sock {
	t.Helper()
	at := netip.AddrPortFrom(addr, port)
	c, err := h.ListenPacket(at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &sock{c, t, c.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (s *sock) send(to netip.AddrPort, text string) {
	s.t.Helper()
	if _, err := s.WriteTo([]byte(text), net.UDPAddrFromAddrPort(to)); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next datagram and where it came from.
func (s *sock) next() (string, netip.AddrPort) {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 64)
	n, from, err := s.ReadFrom(buf)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(buf[:n]), from.(*net.UDPAddr).AddrPort()
}

// mapped returns how s looks to a socket that it sends to.
func (s *sock) mapped(to *sock) netip.AddrPort {
	s.t.Helper()
	s.send(to.addr, "map")
	text, from := to.next()
	if text != "map" {
		s.t.Fatalf("%q came instead", text)
	}
	return from
}

// TestNAT looks at mapping and filtering of every kind, with two hosts of two ports
// each outside.
//
//	          ┌── p:1, p:2
//	h ── gate ┤
//	          └── q:1
func TestNAT(t *testing.T) {
	tests := []struct {
		kind     NAT
		mappings int  // of one port, to the three destinations; 3: any two differ
		port     bool // it is the same outside
		fromP2   bool // after h has sent to p:1, it gets what comes from p:2
		fromQ    bool // and from q:1
		first    bool // it gets what comes before it has sent anything
	}{
		{NoNAT, 1, true, true, true, true},
		{EndpointIndependent, 1, true, true, true, false},
		{AddressRestricted, 1, true, true, false, false},
		{PortRestricted, 1, true, false, false, false},
		{Symmetric, 3, false, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.kind.String(), func(t *testing.T) {
			in := internet(t, false)
			host, p, q := in.mustHost(t, "h", tt.kind), in.mustHost(t, "p", NoNAT), in.mustHost(t, "q", NoNAT)
			p1, p2 := p.sock(t, p.Addr.IPv4.Addr(), 1001), p.sock(t, p.Addr.IPv4.Addr(), 1002)
			q1 := q.sock(t, q.Addr.IPv4.Addr(), 1001)
			h := host.sock(t, host.Addr.IPv4.Addr(), 7777)
			outside := host.WAN.IPv4.Addr()

			// What comes first neither gets in nor spoils the mapping that is made next.
			var want []string
			p1.send(netip.AddrPortFrom(outside, 7777), "too early")
			if tt.first {
				want = append(want, "too early")
			}
			at := h.mapped(p1)
			if at.Addr() != outside {
				t.Fatalf("h looks like %s, want %s", at, outside)
			}
			if same := at.Port() == 7777; same != tt.port {
				t.Errorf("port 7777 looks like %d", at.Port())
			}
			q1.send(at, "q1")
			p2.send(at, "p2")
			p1.send(at, "p1")
			if tt.fromQ {
				want = append(want, "q1")
			}
			if tt.fromP2 {
				want = append(want, "p2")
			}
			want = append(want, "p1")
			var got []string
			for !slices.Contains(got, "p1") {
				text, _ := h.next()
				got = append(got, text)
			}
			if !slices.Equal(got, want) {
				t.Errorf("h got %q, want %q", got, want)
			}

			seen := map[netip.AddrPort]bool{at: true, h.mapped(p2): true, h.mapped(q1): true}
			if len(seen) != tt.mappings {
				t.Errorf("h looks like %v, want %d mappings", seen, tt.mappings)
			}
			if h.mapped(p1) != at {
				t.Error("a mapping changed by itself")
			}
			if tt.kind == NoNAT {
				return
			}
			// After Forget nobody gets in; whoever is sent to does.
			if err := host.Forget(); err != nil {
				t.Fatal(err)
			}
			p1.send(at, "forgotten")
			again := h.mapped(p1)
			p1.send(again, "again")
			if text, _ := h.next(); text != "again" {
				t.Errorf("after Forget %q came", text)
			}
		})
	}
}

// TestNATTCP: out through all kinds, in through none.
func TestNATTCP(t *testing.T) {
	in := internet(t, false)
	p := in.mustHost(t, "p", NoNAT)
	serve := func(h *Host, port string) {
		l, err := h.Listen(net.JoinHostPort(h.Addr.IPv4.Addr().String(), port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	dial := func(from *Host, to netip.Addr, port string, limit time.Duration) error {
		return from.Do(func() error {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(to.String(), port), limit)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	serve(p, "80")
	for i, kind := range NATs()[1:] {
		h := in.mustHost(t, string(rune('a'+i)), kind)
		serve(h, "80")
		if err := dial(h, p.Addr.IPv4.Addr(), "80", 5*time.Second); err != nil {
			t.Errorf("out through %s: %v", kind, err)
		}
		err := dial(p, h.WAN.IPv4.Addr(), "80", 200*time.Millisecond)
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("in through %s: %v, want silence", kind, err)
		}
	}
}

// TestInternetIPv6: addresses go through untouched, and gates let in answers alone.
func TestInternetIPv6(t *testing.T) {
	in := internet(t, true)
	host, p, q := in.mustHost(t, "h", Symmetric), in.mustHost(t, "p", NoNAT), in.mustHost(t, "q", NoNAT)
	h := host.sock(t, host.Addr.IPv6.Addr(), 7777)
	p1, q1 := p.sock(t, p.Addr.IPv6.Addr(), 1001), q.sock(t, q.Addr.IPv6.Addr(), 1001)
	if at := h.mapped(p1); at != h.addr {
		t.Errorf("%s looks like %s", h.addr, at)
	}
	q1.send(h.addr, "q1")
	p1.send(h.addr, "p1")
	if text, _ := h.next(); text != "p1" {
		t.Errorf("h got %q first", text)
	}
}

// TestMate: two hosts behind one gate see each other untranslated, and share its address.
func TestMate(t *testing.T) {
	in := internet(t, false)
	a, p := in.mustHost(t, "a", PortRestricted), in.mustHost(t, "p", NoNAT)
	b, err := a.Mate("b")
	if err != nil {
		t.Fatal(err)
	}
	sa, sb := a.sock(t, a.Addr.IPv4.Addr(), 7777), b.sock(t, b.Addr.IPv4.Addr(), 7777)
	if at := sa.mapped(sb); at != sa.addr {
		t.Errorf("%s looks like %s to its mate", sa.addr, at)
	}
	p1 := p.sock(t, p.Addr.IPv4.Addr(), 1001)
	ma, mb := sa.mapped(p1), sb.mapped(p1)
	if ma.Addr() != mb.Addr() || ma == mb {
		t.Errorf("two mates look like %s and %s", ma, mb)
	}
	c := in.mustHost(t, "c", AddressRestricted)
	if _, err := c.Mate("d"); err == nil {
		t.Error("a mate of a host behind AddressRestricted")
	}
}

// TestMove takes a host from one site to others; a socket that has no address of its own
// goes on.
func TestMove(t *testing.T) {
	in := internet(t, false)
	host, p := in.mustHost(t, "h", PortRestricted), in.mustHost(t, "p", NoNAT)
	h, p1 := host.sock(t, netip.IPv4Unspecified(), 7777), p.sock(t, p.Addr.IPv4.Addr(), 1001)
	seen := make(map[netip.AddrPort]bool)
	for _, kind := range []NAT{PortRestricted, NoNAT, Symmetric} {
		seen[h.mapped(p1)] = true
		if err := host.Move(kind); err != nil {
			t.Fatal(err)
		}
	}
	seen[h.mapped(p1)] = true
	if len(seen) != 4 {
		t.Errorf("at four sites h looks like %v", seen)
	}
}

// TestDelayedSite: a site's wire may be long.
func TestDelayedSite(t *testing.T) {
	in := internet(t, false)
	const delay = 30 * time.Millisecond
	host, err := in.Host("h", PortRestricted, Wire{Delay: delay})
	if err != nil {
		t.Fatal(err)
	}
	p := in.mustHost(t, "p", NoNAT)
	h, p1 := host.sock(t, host.Addr.IPv4.Addr(), 7777), p.sock(t, p.Addr.IPv4.Addr(), 1001)
	start := time.Now()
	p1.send(h.mapped(p1), "back")
	h.next()
	if took := time.Since(start); took < 2*delay {
		t.Errorf("there and back in %v, want at least %v", took, 2*delay)
	}
}

func TestPunches(t *testing.T) {
	for _, a := range NATs() {
		for _, b := range NATs() {
			want := !(a == Symmetric && b >= PortRestricted || b == Symmetric && a >= PortRestricted)
			if got := Punches(a, b); got != want {
				t.Errorf("Punches(%s, %s) = %v", a, b, got)
			}
		}
	}
}
