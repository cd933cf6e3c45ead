package link

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestWriteSTUN: what is sent comes from the very port of the links, and the answer
// gets to Config.STUN.
func TestWriteSTUN(t *testing.T) {
	t.Parallel()
	type message struct {
		text string
		from netip.AddrPort
	}
	for _, v := range []struct{ name, listen, server, to string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"},
		{"IPv4 mapped", "127.0.0.1:0", "127.0.0.1:0", "::ffff:127.0.0.1"},
		{"IPv6", "[::1]:0", "[::1]:0", "::1"},
		{"both, to IPv4", "[::]:0", "127.0.0.1:0", "127.0.0.1"},
		{"both, to mapped", "[::]:0", "127.0.0.1:0", "::ffff:127.0.0.1"},
		{"both, to IPv6", "[::]:0", "[::1]:0", "::1"},
	} {
		t.Run(v.name, func(t *testing.T) {
			got := make(chan message, 1)
			n := newNode(t, func(c *Config) {
				c.UDP = netip.MustParseAddrPort(v.listen)
				c.STUN = func(b []byte, from netip.AddrPort) { got <- message{string(b), from} }
			})
			server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(v.server)))
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			at := server.LocalAddr().(*net.UDPAddr).AddrPort()
			if err := n.WriteSTUN([]byte("\x00\x01request"), netip.AddrPortFrom(netip.MustParseAddr(v.to), at.Port())); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			size, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:size]) != "\x00\x01request" {
				t.Fatalf("the server read %q, %v", buf[:size], err)
			}
			if from.Port() != n.UDPAddr().Port() {
				t.Errorf("it came from %s, links from port %d", from, n.UDPAddr().Port())
			}
			if _, err := server.WriteToUDPAddrPort([]byte("\x01\x01answer"), from); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-got:
				if m.text != "\x01\x01answer" || m.from != netip.AddrPortFrom(at.Addr().Unmap(), at.Port()) {
					t.Errorf("got %q from %s, want the answer from %s", m.text, m.from, at)
				}
			case <-time.After(10 * time.Second):
				t.Error("the answer did not arrive")
			}
		})
	}
}

func TestWriteSTUNRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	server := netip.MustParseAddrPort("127.0.0.1:3478")
	for _, v := range []struct {
		name string
		b    []byte
		to   netip.AddrPort
	}{
		{"a frame of ours", []byte{0x50, 0, 0, 0}, server},
		{"nothing", nil, server},
		{"no address", []byte{0}, netip.AddrPort{}},
		{"IPv6 from an IPv4 socket", []byte{0}, netip.MustParseAddrPort("[::1]:3478")},
		{"more than a datagram holds", make([]byte, 70000), server},
	} {
		if err := n.WriteSTUN(v.b, v.to); err == nil {
			t.Errorf("%s was sent", v.name)
		}
	}
	none := newNode(t, func(c *Config) { c.UDP = netip.AddrPort{} })
	if err := none.WriteSTUN([]byte{0}, server); err == nil {
		t.Error("sent without a socket")
	}
}
