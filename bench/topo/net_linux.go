package topo

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Net is a set of namespaces and the wires between them, made by one run.
type Net struct {
	NS    []*Namespace // in the order of their making
	Links []*Link      // in the order of their making

	prefix string // of all namespace names, ends in "-"
	log    zerolog.Logger
	stops  []func() // user-space wires, stopped first
}

// A Link is a wire between two namespaces.
type Link struct{ A, B *End }

// An End is one interface of a Link.
type End struct {
	NS   *Namespace
	Dev  string       // interface name, "to-" and the neighbour's name
	IPv4 netip.Prefix // 10.77.<link>.1 or .2, /24; see Internet for the addresses there
	IPv6 netip.Prefix // fd77:0:0:<link>::1 or ::2, /64; the zero Prefix: none
}

// prefixes are the addresses that e has.
func (e *End) prefixes() []netip.Prefix {
	if !e.IPv6.IsValid() {
		return []netip.Prefix{e.IPv4}
	}
	return []netip.Prefix{e.IPv4, e.IPv6}
}

// New returns an empty Net after sweeping up what dead runs left behind. The
// caller owes it a Close, best by defer, so that a panic cleans up as well.
func New(log zerolog.Logger) (*Net, error) {
	if unix.Geteuid() != 0 {
		return nil, fmt.Errorf("topo: making network namespaces: %w", unix.EPERM)
	}
	if n, err := Sweep(); err != nil {
		log.Warn().Err(err).Msg("sweeping up dead runs")
	} else if n > 0 {
		log.Info().Int("namespaces", n).Msg("swept up dead runs")
	}
	prefix, err := runPrefix()
	if err != nil {
		return nil, err
	}
	return &Net{prefix: prefix, log: log}, nil
}

// Chain returns n namespaces a, b, c … in a row, joined by veth pairs: Links[i]
// joins NS[i] (its A) and NS[i+1] (its B). No namespace forwards packets: what
// gets from a to c went through a program in b.
func Chain(log zerolog.Logger, n int) (*Net, error) {
	joins := make([][2]int, 0, n)
	for i := range n - 1 {
		joins = append(joins, [2]int{i, i + 1})
	}
	return build(log, n, joins)
}

// Triangle returns namespaces a, b, c, d with two disjoint paths from a to c:
// Links are a–b, b–c, a–d, d–c.
func Triangle(log zerolog.Logger) (*Net, error) {
	return build(log, 4, [][2]int{{0, 1}, {1, 2}, {0, 3}, {3, 2}})
}

func build(log zerolog.Logger, n int, joins [][2]int) (*Net, error) {
	t, err := New(log)
	if err != nil {
		return nil, err
	}
	for i := range n {
		if _, err := t.Namespace(string(rune('a' + i))); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	for _, j := range joins {
		if _, err := t.Join(t.NS[j[0]], t.NS[j[1]]); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// Namespace adds an empty namespace with its loopback up. The name is a short
// word without "-", unique within t.
func (t *Net) Namespace(name string) (*Namespace, error) {
	ns, err := newNamespace(t.prefix+name, name)
	if err != nil {
		return nil, err
	}
	t.NS = append(t.NS, ns)
	return ns, nil
}

// Join lays a veth pair of MTU 1500 with addresses and the offloads that the
// kernel gives it by default.
func (t *Net) Join(a, b *Namespace) (*Link, error) {
	l := t.newLink(a, b)
	if err := l.veth(); err != nil {
		return nil, err
	}
	t.Links = append(t.Links, l)
	return l, nil
}

// veth makes l a veth pair that is up.
func (l *Link) veth() error {
	a, b := l.A.NS, l.B.NS
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l.A.Dev, MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU = l.B.Dev, MTU
	veth.PeerNamespace = netlink.NsFd(int(b.handle))
	if err := a.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("topo: veth %s–%s: %w", a.Name, b.Name, err)
	}
	return errors.Join(l.up(), l.A.meet(l.B), l.B.meet(l.A))
}

// upTimeout bounds the wait for a carrier.
const upTimeout = 10 * time.Second

// up gives both ends their addresses and returns when packets pass. The end of a
// veth that was set up first drops what it sends until the kernel's link watch, a
// worker of its own, has seen the carrier (net/core/link_watch.c).
func (l *Link) up() error {
	ends := []*End{l.A, l.B}
	for _, e := range ends {
		for _, p := range e.prefixes() {
			if err := e.NS.AddAddr(e.Dev, p); err != nil {
				return err
			}
		}
	}
	deadline := time.Now().Add(upTimeout)
	for _, e := range ends {
		for {
			dev, err := e.NS.nl.LinkByName(e.Dev)
			if err != nil {
				return fmt.Errorf("topo: %s in %s: %w", e.Dev, e.NS.Name, err)
			}
			// A TUN device never says more than unknown.
			state := dev.Attrs().OperState
			if (state == netlink.OperUp || state == netlink.OperUnknown) && e.taken() {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("topo: %s in %s does not come up", e.Dev, e.NS.Name)
			}
			time.Sleep(5 * time.Millisecond) // polled: the kernel has no call that waits
		}
	}
	return nil
}

// taken reports whether what comes for the IPv6 address of e is delivered: another worker
// of the kernel's sees to that, even where there is no duplicate detection.
func (e *End) taken() bool {
	if !e.IPv6.IsValid() {
		return true
	}
	routes, err := e.NS.nl.RouteGet(e.IPv6.Addr().AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

// meet tells e the link-layer address of to for good. One lost ARP request
// costs a second, half of a measurement.
func (e *End) meet(to *End) error {
	near, err := e.NS.nl.LinkByName(e.Dev)
	if err != nil {
		return fmt.Errorf("topo: %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	far, err := to.NS.nl.LinkByName(to.Dev)
	if err != nil {
		return fmt.Errorf("topo: %s in %s: %w", to.Dev, to.NS.Name, err)
	}
	for _, p := range to.prefixes() {
		if err := e.NS.nl.NeighSet(&netlink.Neigh{
			LinkIndex:    near.Attrs().Index,
			State:        netlink.NUD_PERMANENT,
			IP:           p.Addr().AsSlice(),
			HardwareAddr: far.Attrs().HardwareAddr,
		}); err != nil {
			return fmt.Errorf("topo: neighbour %s of %s: %w", p.Addr(), e.NS.Name, err)
		}
	}
	return nil
}

// newLink names the ends and numbers them after the links there are already.
func (t *Net) newLink(a, b *Namespace) *Link {
	i := byte(len(t.Links))
	end := func(ns, peer *Namespace, host byte) *End {
		return &End{
			NS: ns, Dev: "to-" + peer.Name,
			IPv4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, i, host}), 24),
			IPv6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x77, 7: i, 15: host}), 64),
		}
	}
	return &Link{A: end(a, b, 1), B: end(b, a, 2)}
}

// AddAddr adds an address to the interface dev of ns and sets it up. IPv6
// addresses skip duplicate detection, so that they work at once.
func (ns *Namespace) AddAddr(dev string, p netip.Prefix) error {
	l, err := ns.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("topo: %s in %s: %w", dev, ns.Name, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := ns.nl.AddrAdd(l, addr); err != nil {
		return fmt.Errorf("topo: address %s on %s in %s: %w", p, dev, ns.Name, err)
	}
	if err := ns.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("topo: setting up %s in %s: %w", dev, ns.Name, err)
	}
	return nil
}

// SetMTU sets the size in bytes of the largest packet that dev of ns sends.
func (ns *Namespace) SetMTU(dev string, mtu int) error {
	l, err := ns.nl.LinkByName(dev)
	if err == nil {
		err = ns.nl.LinkSetMTU(l, mtu)
	}
	if err != nil {
		return fmt.Errorf("topo: MTU of %s in %s: %w", dev, ns.Name, err)
	}
	return nil
}

// Close kills the processes started in t's namespaces and removes them with
// all their interfaces. It may be called more than once.
func (t *Net) Close() error {
	for _, stop := range t.stops {
		stop()
	}
	t.stops = nil
	var errs []error
	for _, ns := range t.NS {
		errs = append(errs, ns.close())
	}
	t.NS, t.Links = nil, nil
	return errors.Join(errs...)
}

// runPrefix returns sky-<pid>-<start time of that pid>-<random>-: the first two
// tell Sweep whether the run still lives, the last tells two Nets of one process
// apart.
func runPrefix() (string, error) {
	pid := unix.Getpid()
	start, err := startTime(pid)
	if err != nil {
		return "", fmt.Errorf("topo: own start time: %w", err)
	}
	var r [3]byte
	rand.Read(r[:])
	return fmt.Sprintf("sky-%d-%s-%s-", pid, start, hex.EncodeToString(r[:])), nil
}
