package topo

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// An Internet is a router with sites around it: hosts with public addresses, and
// hosts behind gates that translate addresses.
//
//	host ── router ── gate ── host
//	public   │        NAT      192.168.…
//	        host
//
// Site i, counted from 0, has 198.18.<i>.2 (RFC 2544's addresses for tests between
// networks) and, if the Internet has IPv6, 2001:db8:0:<i>::2; its hosts behind a gate
// have 192.168.<i>.2 and 2001:db8:1:<i>::2. The router knows no private addresses:
// what is sent to these ends there.
type Internet struct {
	Router *Namespace

	net   *Net
	ipv6  bool
	sites int
	lans  int
}

// maxSites is how many numbers there are: one byte of an address.
const maxSites = 256

// A Host is a namespace at a site of an Internet.
type Host struct {
	*Namespace
	Kind NAT
	Addr *End // its address
	WAN  *End // where its site meets the router: Addr, or its gate's outer address

	internet *Internet
	link     *Link // Addr's
	gate     *gate // nil: it has a public address
}

// Internet adds a router.
func (t *Net) Internet(ipv6 bool) (*Internet, error) {
	router, err := t.Namespace("router")
	if err != nil {
		return nil, err
	}
	return &Internet{Router: router, net: t, ipv6: ipv6}, router.routes()
}

// Host adds a host behind a gate of the given kind, or with a public address. A wire
// other than the zero Wire lies between the site and the router.
func (in *Internet) Host(name string, kind NAT, w Wire) (*Host, error) {
	ns, err := in.net.Namespace(name)
	if err != nil {
		return nil, err
	}
	h := &Host{Namespace: ns, internet: in}
	return h, h.attach(kind, w)
}

// attach makes a site for h.
func (h *Host) attach(kind NAT, w Wire) (err error) {
	in := h.internet
	if in.sites == maxSites {
		return fmt.Errorf("topo: %s: an Internet has %d sites at most", h.Name, maxSites)
	}
	site := byte(in.sites)
	in.sites++
	outer := h.Namespace
	h.Kind, h.gate = kind, nil
	if kind != NoNAT {
		if outer, err = in.net.Namespace(fmt.Sprint("gate", site)); err != nil {
			return err
		}
	}
	wan := in.newLink(in.Router, outer, [4]byte{198, 18, site, 0}, [8]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, site})
	if w == (Wire{}) {
		err = wan.veth()
	} else {
		err = in.net.delay(wan, w)
	}
	if err != nil {
		return err
	}
	if err := wan.B.defaultRoute(wan.A); err != nil {
		return err
	}
	h.link, h.Addr, h.WAN = wan, wan.B, wan.B
	if kind == NoNAT {
		return nil
	}
	h.gate = &gate{ns: outer, kind: kind, wan: wan.B}
	if err := outer.routes(); err != nil {
		return err
	}
	if err := h.joinLAN(); err != nil {
		return err
	}
	return h.gate.translate(h.Addr)
}

// joinLAN connects h with its gate.
func (h *Host) joinLAN() error {
	in := h.internet
	lan := byte(in.lans)
	in.lans++
	prefix := [8]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, lan}
	h.link = in.newLink(h.gate.ns, h.Namespace, [4]byte{192, 168, lan, 0}, prefix)
	h.Addr = h.link.B
	if err := h.link.veth(); err != nil {
		return err
	}
	if in.ipv6 {
		inside := netip.PrefixFrom(netip.AddrFrom16([16]byte(append(prefix[:], make([]byte, 8)...))), 64)
		if err := in.Router.addRoute("to-"+h.gate.ns.Name, inside, h.WAN.IPv6.Addr()); err != nil {
			return err
		}
	}
	return h.Addr.defaultRoute(h.link.A)
}

// Mate adds another host behind h's gate, which must be PortRestricted or Symmetric: the
// others let in for one host only.
func (h *Host) Mate(name string) (*Host, error) {
	if h.gate == nil || h.Kind < PortRestricted {
		return nil, fmt.Errorf("topo: %s is behind %s: no room for %s beside it", h.Name, h.Kind, name)
	}
	ns, err := h.internet.net.Namespace(name)
	if err != nil {
		return nil, err
	}
	m := &Host{Namespace: ns, Kind: h.Kind, WAN: h.WAN, internet: h.internet, gate: h.gate}
	return m, m.joinLAN()
}

// Move takes h from its site to a new one, as when a telephone leaves a wireless
// network. Its sockets stay.
func (h *Host) Move(kind NAT) error {
	if err := h.Addr.remove(); err != nil {
		return err
	}
	return h.attach(kind, Wire{})
}

// Forget makes h's gate lose all its mappings.
func (h *Host) Forget() error {
	if h.gate == nil {
		return fmt.Errorf("topo: %s has no gate", h.Name)
	}
	return h.gate.forget()
}

// newLink names the ends of a link whose first end has the host number 1, the other 2.
func (in *Internet) newLink(a, b *Namespace, v4 [4]byte, v6 [8]byte) *Link {
	end := func(ns, peer *Namespace, host byte) *End {
		e := &End{NS: ns, Dev: "to-" + peer.Name}
		v4[3] = host
		e.IPv4 = netip.PrefixFrom(netip.AddrFrom4(v4), 24)
		if in.ipv6 {
			addr := [16]byte{15: host}
			copy(addr[:], v6[:])
			e.IPv6 = netip.PrefixFrom(netip.AddrFrom16(addr), 64)
		}
		return e
	}
	return &Link{A: end(a, b, 1), B: end(b, a, 2)}
}

// routes lets ns pass packets on.
func (ns *Namespace) routes() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := ns.Sysctl(name, "1"); err != nil {
			return err
		}
	}
	return nil
}

// defaultRoute sends what e's namespace has for elsewhere to via.
func (e *End) defaultRoute(via *End) error {
	for _, p := range via.prefixes() {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if p.Addr().Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if err := e.NS.addRoute(e.Dev, all, p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// addRoute sends what goes to a network through dev to the router via.
func (ns *Namespace) addRoute(dev string, to netip.Prefix, via netip.Addr) error {
	l, err := ns.nl.LinkByName(dev)
	if err == nil {
		err = ns.nl.RouteReplace(&netlink.Route{
			LinkIndex: l.Attrs().Index,
			Dst:       &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
			Gw:        via.AsSlice(),
		})
	}
	if err != nil {
		return fmt.Errorf("topo: route to %s in %s: %w", to, ns.Name, err)
	}
	return nil
}

// remove removes e's interface, and with it the other end of a veth pair.
func (e *End) remove() error {
	l, err := e.NS.nl.LinkByName(e.Dev)
	if err == nil {
		err = e.NS.nl.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("topo: removing %s of %s: %w", e.Dev, e.NS.Name, err)
	}
	return nil
}
