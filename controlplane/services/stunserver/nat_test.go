package stunserver

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/stunclient"
)

// A nat is a NAT as RFC 4787 describes it, before one socket.
type nat struct {
	mapping, filtering stunclient.Behaviour
	mapped             map[any]netip.AddrPort
	opened             map[any]bool // what the filter goes by
}

// key returns what a behaviour goes by.
func key(b stunclient.Behaviour, remote netip.AddrPort) any {
	switch b {
	case stunclient.PortDependent:
		return remote
	case stunclient.AddressDependent:
		return remote.Addr()
	}
	return nil
}

func (n *nat) out(to netip.AddrPort) netip.AddrPort {
	n.opened[key(n.filtering, to)] = true
	if n.mapping == stunclient.None {
		return netip.MustParseAddrPort("203.0.113.9:6000")
	}
	k := key(n.mapping, to)
	if _, ok := n.mapped[k]; !ok {
		n.mapped[k] = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), uint16(40000+len(n.mapped)))
	}
	return n.mapped[k]
}

func (n *nat) in(from netip.AddrPort) bool { return n.opened[key(n.filtering, from)] }

// The client tells NATs apart with the help of two servers of ours, and what it can of
// them with one.
func TestNATs(t *testing.T) {
	const (
		none = stunclient.None
		ei   = stunclient.EndpointIndependent
		ad   = stunclient.AddressDependent
		pd   = stunclient.PortDependent
	)
	tests := []struct {
		name               string
		mapping, filtering stunclient.Behaviour
		servers            int
		wantMapping, want  stunclient.Behaviour
	}{
		{"no NAT, no firewall", none, ei, 2, none, ad},
		{"no NAT, a firewall", none, pd, 2, none, pd},
		{"full cone", ei, ei, 2, ei, ad}, // one address per server: no more is seen
		{"address restricted", ei, ad, 2, ei, ad},
		{"port restricted", ei, pd, 2, ei, pd},
		{"symmetric", pd, pd, 2, pd, pd},
		{"by address", ad, ad, 2, ad, ad},
		{"by address, one server", ad, ad, 1, ei, ad},
		{"symmetric, one server", pd, pd, 1, pd, pd},
	}
	servers := []string{"198.51.100.5:3478", "198.51.100.6:3478"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				box := &nat{mapping: tt.mapping, filtering: tt.filtering, mapped: map[any]netip.AddrPort{}, opened: map[any]bool{}}
				work := make(chan func(), 100) // what the network does, one after the other
				var c *stunclient.Client
				c = stunclient.New(func(b []byte, to netip.AddrPort) error {
					b = bytes.Clone(b)
					work <- func() {
						other := netip.AddrPortFrom(to.Addr(), to.Port()^1) // 3478 and 3479
						var r responder
						reply, byOther := r.respond(b, box.out(to), to, other)
						from := to
						if byOther {
							from = other
						}
						if reply != nil && box.in(from) {
							c.Handle(reply, from)
						}
					}
					return nil
				})
				stop := make(chan struct{})
				go func() {
					for {
						select {
						case f := <-work:
							f()
						case <-stop:
							return
						}
					}
				}()
				defer close(stop)
				start := time.Now()
				o := stunclient.Options{Filtering: true, Local: netip.MustParseAddrPort("0.0.0.0:6000"),
					Interfaces: func() ([]netip.Addr, error) {
						return []netip.Addr{netip.MustParseAddr("203.0.113.9")}, nil
					}}
				res, err := c.Discover(t.Context(), servers[:tt.servers], o)
				if err != nil || res.V4 == nil {
					t.Fatalf("%+v, %v", res, err)
				}
				if res.V4.Mapping != tt.wantMapping || res.V4.Filtering != tt.want {
					t.Errorf("mapping %v, filtering %v; want %v, %v", res.V4.Mapping, res.V4.Filtering, tt.wantMapping, tt.want)
				}
				if took := time.Since(start); took > 4*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestServer(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		o := DefaultOptions()
		o.Addr = addr
		s, err := New(o)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		loopback := "127.0.0.1"
		if s.Addr().Addr().Is6() {
			loopback = "::1"
		}
		pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(loopback)})
		if err != nil {
			t.Fatal(err)
		}
		server := netip.AddrPortFrom(netip.MustParseAddr(loopback), s.Addr().Port()).String()
		res, err := stunclient.Discover(t.Context(), pc, []string{server}, stunclient.Options{Filtering: true})
		n := res.V4
		if n == nil {
			n = res.V6
		}
		if err != nil || n.Mapping != stunclient.None || n.Filtering != stunclient.AddressDependent || n.Mapped.String() != pc.LocalAddr().String() {
			t.Errorf("%s: %+v, %v", addr, n, err)
		}
		pc.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTaken(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	o := DefaultOptions()
	for _, o.Addr = range []string{pc.LocalAddr().String(), "x", "127.0.0.1:65535", "127.0.0.1:x"} {
		if s, err := New(o); err == nil {
			s.Close()
			t.Errorf("%s: no error", o.Addr)
		}
	}
}
