package link

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/packet"
)

func listenOn(addr string) func(*Config) {
	return func(c *Config) { c.UDP = netip.MustParseAddrPort(addr) }
}

// TestFamilies carries packets both ways between all kinds of sockets. On a dual
// stack socket IPv4 peers have IPv4 addresses, wherever they are shown.
func TestFamilies(t *testing.T) {
	for _, tt := range []struct{ name, a, b, dial string }{
		{"IPv6", "[::1]:0", "[::1]:0", "::1"},
		{"IPv4 calls dual stack", "127.0.0.1:0", "[::]:0", "127.0.0.1"},
		{"dual stack calls IPv4", "[::]:0", "127.0.0.1:0", "127.0.0.1"},
		{"dual stack calls IPv4 in disguise", "[::]:0", "127.0.0.1:0", "::ffff:127.0.0.1"},
		{"dual stack calls dual stack over IPv6", "[::]:0", "[::]:0", "::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := newNode(t, listenOn(tt.a)), newNode(t, listenOn(tt.b))
			to := netip.AddrPortFrom(netip.MustParseAddr(tt.dial), b.UDPAddr().Port())
			ab, err := a.AddLink(b.pk, SUDPH, to)
			if err != nil {
				t.Fatal(err)
			}
			if err := ab.WaitUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.expect(t, "up")
			ba := b.Links()[0]
			for range 3 { // several datagrams, so that a wrong form of an address would roam
				send(t, ab, 7, 100, packet.MinMTU)
				send(t, ba, 7, 100, packet.MinMTU)
			}
			a.wait(t, 300)
			b.wait(t, 300)
			for _, l := range []*Link{ab, ba} {
				st := l.send.Load()
				if strings.Contains(l.Info().Addr, "ffff") || st.addr.Addr().Is4In6() || st.path != nil {
					t.Errorf("the neighbour is at %s, on probation: %v", l.Info().Addr, st.path != nil)
				}
			}
			if ba.place.Addr().Is4In6() {
				t.Errorf("place %v", ba.place)
			}
		})
	}
}

func TestAddLinkRefuses(t *testing.T) {
	a := newNode(t, nil)
	other := staticKey(t, bytesOf(3, 32)).PubKey()
	for _, tt := range []struct {
		name, addr string
		typ        Type
	}{
		{"IPv6 from an IPv4 socket", "[::1]:1000", SUDPH},
		{"no port", "127.0.0.1:0", SUDPH},
		{"no such carrier", "127.0.0.1:1000", DMSG},
	} {
		if _, err := a.AddLink(other, tt.typ, netip.MustParseAddrPort(tt.addr)); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
	if _, err := a.AddLink(other, SUDPH, netip.AddrPort{}); err == nil {
		t.Error("no address: no error")
	}
	if n := len(a.Links()); n != 0 {
		t.Errorf("%d links were made", n)
	}
}
