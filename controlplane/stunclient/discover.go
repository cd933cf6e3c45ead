package stunclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// maxServers is how many servers are asked; more would teach nothing.
const maxServers = 8

// The flags of CHANGE-REQUEST (RFC 5780, section 7.2).
const (
	changeIP   = 0x04
	changePort = 0x02
)

// Options say what Discover does.
type Options struct {
	// Local is the socket's own address, to tell whether there is a NAT; not valid, or
	// an unspecified address: only the interfaces' addresses with the port are looked
	// at.
	Local netip.AddrPort
	// Filtering asks what the NAT lets in, too, which takes up to 1.75 s more.
	Filtering bool
	// Lookup resolves names; nil: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Interfaces returns the machine's addresses; nil: the system's.
	Interfaces func() ([]netip.Addr, error)
}

// Discover asks servers ("host:port" each), all at once, and types the NAT before the
// socket. It takes at most 3.5 s, with Filtering 5.5 s, and the time that
// names take.
//
// It fails with ErrNoServer or ErrNoAnswer where nothing was learnt at all; what was
// learnt is in the result, and what went wrong with single servers.
func (c *Client) Discover(ctx context.Context, servers []string, o Options) (Result, error) {
	var res Result
	targets := c.resolve(ctx, servers, o, &res)
	if len(targets) == 0 {
		return res, fmt.Errorf("%w: %w", ErrNoServer, failures(res.Failed))
	}
	own := ownAddresses(o)
	var v4, v6 []target
	for _, t := range targets {
		if t.addr.Addr().Is4() {
			v4 = append(v4, t)
		} else {
			v6 = append(v6, t)
		}
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	family := func(ts []target, out **NAT) {
		n, failed := c.family(ctx, ts, o.Filtering, own)
		mu.Lock()
		defer mu.Unlock()
		*out = n
		res.Failed = append(res.Failed, failed...)
	}
	group.Go(func() { family(v4, &res.V4) })
	group.Go(func() { family(v6, &res.V6) })
	group.Wait()
	if res.V4 == nil && res.V6 == nil {
		return res, fmt.Errorf("%w: %w", ErrNoAnswer, failures(res.Failed))
	}
	return res, nil
}

func failures(fs []Failure) error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, fmt.Errorf("%s: %w", f.Server, f.Err))
	}
	return errors.Join(errs...)
}

// A target is one address of a server.
type target struct {
	name string
	addr netip.AddrPort
}

// resolve returns the addresses of servers, of each the first of each family.
func (c *Client) resolve(ctx context.Context, servers []string, o Options, res *Result) []target {
	servers = servers[:min(len(servers), maxServers)]
	found, errs := make([][]target, len(servers)), make([]error, len(servers))
	var group sync.WaitGroup
	for i, name := range servers {
		group.Go(func() {
			addrs, err := Resolve(ctx, name, o.Lookup)
			for _, a := range addrs {
				found[i] = append(found[i], target{name, a})
			}
			errs[i] = err
		})
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			res.Failed = append(res.Failed, Failure{servers[i], err})
		}
	}
	return slices.Concat(found...)
}

// Resolve returns the addresses of a server, host:port: the first of each family. lookup
// resolves names; nil: the system's resolver.
func Resolve(ctx context.Context, server string, lookup func(ctx context.Context, host string) ([]netip.Addr, error)) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	switch {
	case err != nil:
		return nil, err
	case port == 0:
		return nil, fmt.Errorf("%s: nobody listens at port 0", server)
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if lookup != nil {
		addrs, err = lookup(ctx, host)
		if err != nil {
			return nil, err
		}
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	seen := map[bool]bool{} // by whether it is IPv4
	for _, a := range addrs {
		if a = a.Unmap(); !seen[a.Is4()] {
			seen[a.Is4()] = true
			out = append(out, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	return out, nil
}

// ownAddresses returns the addresses that a socket without NAT may be seen at.
func ownAddresses(o Options) map[netip.AddrPort]bool {
	own := map[netip.AddrPort]bool{}
	if !o.Local.IsValid() {
		return own
	}
	port := o.Local.Port()
	if a := o.Local.Addr().Unmap(); !a.IsUnspecified() {
		own[netip.AddrPortFrom(a, port)] = true
		return own
	}
	interfaces := o.Interfaces
	if interfaces == nil {
		interfaces = systemAddresses
	}
	addrs, err := interfaces()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		own[netip.AddrPortFrom(a.Unmap(), port)] = true
	}
	return own
}

func systemAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("stunclient: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out, nil
}

// A view is how one address of a server sees the socket.
type view struct {
	target
	answer
	err error
}

// family types the NAT of one address family; nil where nobody answered.
func (c *Client) family(ctx context.Context, ts []target, filtering bool, own map[netip.AddrPort]bool) (*NAT, []Failure) {
	views := c.views(ctx, ts)
	var failed []Failure
	var good []view
	for _, v := range views {
		if v.err != nil {
			failed = append(failed, Failure{v.name, v.err})
		} else {
			good = append(good, v)
		}
	}
	if len(good) == 0 {
		return nil, failed
	}
	n := &NAT{Mapped: good[0].mapped}
	// The same socket as the second port of each server sees it, while the filter is
	// tried: the server answers from a port that was not contacted, so filtering must
	// not come after the mapping test of the same server.
	second := make([]view, 0, len(good))
	var filters []Behaviour
	if filtering {
		filters = c.filters(ctx, good)
	}
	var more []target
	for _, v := range good {
		if v.other.IsValid() {
			more = append(more, target{v.name, secondPort(v)})
		}
	}
	for _, v := range c.views(ctx, more) {
		if v.err == nil {
			second = append(second, v)
		}
	}
	n.Mapping = mapping(good, second, own)
	for _, v := range slices.Concat(good, second) {
		if !slices.Contains(n.All, v.mapped) {
			n.All = append(n.All, v.mapped)
		}
	}
	n.Filtering = slices.Max(append(filters, Unknown))
	return n, failed
}

// secondPort returns the address of the second port. A server behind a NAT of its own
// names an address that nobody reaches: then it is the one at which it answered.
func secondPort(v view) netip.AddrPort {
	if a := v.other.Addr(); a.Is4() != v.addr.Addr().Is4() || a.IsPrivate() != v.addr.Addr().IsPrivate() || a.IsUnspecified() || a.IsLoopback() {
		return netip.AddrPortFrom(v.addr.Addr(), v.other.Port())
	}
	return v.other
}

// views asks all of ts at once.
func (c *Client) views(ctx context.Context, ts []target) []view {
	out := make([]view, len(ts))
	var group sync.WaitGroup
	for i, t := range ts {
		group.Go(func() {
			a, err := c.ask(ctx, t.addr, 0)
			out[i] = view{t, a, err}
		})
	}
	group.Wait()
	return out
}

// mapping types the mapping by what different addresses and ports saw.
func mapping(first, second []view, own map[netip.AddrPort]bool) Behaviour {
	all := slices.Concat(first, second)
	differs, byPort := false, false
	for _, v := range all {
		if v.mapped != first[0].mapped {
			differs = true
		}
		for _, w := range all {
			if v.addr.Addr() == w.addr.Addr() && v.mapped != w.mapped {
				byPort = true
			}
		}
	}
	switch {
	case byPort:
		return PortDependent
	case differs:
		return AddressDependent
	case own[first[0].mapped]:
		return None
	case len(all) < 2:
		return Unknown
	}
	return EndpointIndependent
}

// filterTimeout bounds the test of the filter.
const filterTimeout = 2 * time.Second

// filters has each server that has a second port answer from there.
func (c *Client) filters(ctx context.Context, servers []view) []Behaviour {
	ctx, cancel := context.WithTimeout(ctx, filterTimeout)
	defer cancel()
	out := make([]Behaviour, len(servers))
	var group sync.WaitGroup
	for i, v := range servers {
		if !v.other.IsValid() {
			continue
		}
		group.Go(func() { out[i] = c.filter(ctx, v) })
	}
	group.Wait()
	return out
}

// filter tells what is let in, by the answers that arrive from where nothing was
// sent to.
func (c *Client) filter(ctx context.Context, v view) Behaviour {
	var group sync.WaitGroup
	var byPort, byAddress error
	elsewhere := secondPort(v).Addr() != v.addr.Addr() // the server has two addresses
	group.Go(func() { _, byPort = c.ask(ctx, v.addr, changePort) })
	if elsewhere {
		group.Go(func() { _, byAddress = c.ask(ctx, v.addr, changeIP|changePort) })
	}
	group.Wait()
	switch {
	case errors.Is(byPort, ErrNoAnswer):
		return PortDependent
	case byPort != nil:
		return Unknown
	case elsewhere && byAddress == nil:
		return EndpointIndependent
	}
	return AddressDependent
}
