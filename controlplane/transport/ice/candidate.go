package ice

import (
	"net"
	"net/netip"
	"slices"
)

// MaxCandidates bounds the candidates of a visor. Each costs the other side 20 datagrams
// per second for as long as an attempt takes.
const MaxCandidates = 12

// maxPerHost bounds a peer's candidates at one IP address: who names a stranger's shall
// not have that one flooded by our checks (RFC 8445 section 19.5.1).
const maxPerHost = 3

// A Kind says how a candidate's address is known.
type Kind string

// Kinds of candidates, RFC 8445 section 5.1.1. Peer-reflexive ones are nobody's to offer.
const (
	Host  Kind = "host"
	Srflx Kind = "srflx" // a STUN server's view
)

// A Candidate is an address where a visor may be reached over UDP.
type Candidate struct {
	Kind Kind           `json:"type"`
	Addr netip.AddrPort `json:"addr"`
}

// Gather returns our candidates: the addresses of the interfaces if the socket listens on
// all of them, and what STUN servers have seen. Addresses of loopback are among them only
// where there is nothing but loopback, or where a STUN server saw us there.
func Gather(listen netip.AddrPort, mapped []netip.AddrPort) ([]Candidate, error) {
	var ips []netip.Addr
	if a := listen.Addr().Unmap(); !a.IsUnspecified() {
		ips = []netip.Addr{a}
	} else {
		var err error
		if ips, err = interfaceAddrs(); err != nil {
			return nil, err
		}
		if listen.Addr().Is4() {
			ips = slices.DeleteFunc(ips, netip.Addr.Is6)
		}
	}
	return gather(ips, listen.Port(), mapped), nil
}

// gather is Gather for known addresses.
func gather(ips []netip.Addr, port uint16, mapped []netip.AddrPort) []Candidate {
	var all []Candidate
	add := func(k Kind, a netip.AddrPort) {
		if len(all) == MaxCandidates || slices.ContainsFunc(all, func(c Candidate) bool { return c.Addr == a }) {
			return
		}
		all = append(all, Candidate{k, a})
	}
	// Those that work through NATs must not fall victim to the bound.
	for _, a := range mapped {
		add(Srflx, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	only := !slices.ContainsFunc(ips, func(a netip.Addr) bool { return usable(a, false) })
	for _, a := range ips {
		if usable(a, only) {
			add(Host, netip.AddrPortFrom(a, port))
		}
	}
	// An address of an interface that a server saw as well is no NAT's.
	for i, c := range all {
		if c.Addr.Port() == port && slices.Contains(ips, c.Addr.Addr()) {
			all[i].Kind = Host
		}
	}
	return all
}

// interfaceAddrs returns the addresses of the interfaces that are up.
func interfaceAddrs() ([]netip.Addr, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				ips = append(ips, p.Addr().Unmap())
			}
		}
	}
	return ips, nil
}

// usable reports whether an address can be that of another visor.
func usable(a netip.Addr, loopback bool) bool {
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.Zone() != "", a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case a.IsLinkLocalUnicast():
		return false // they mean nothing without an interface
	case a.IsLoopback():
		return loopback
	}
	return true
}

// Admit returns those of a peer's candidates that are worth a datagram: at most
// MaxCandidates, three at one IP address, known kinds, and addresses of single hosts.
// Loopback is one only where our own candidates say that we are there.
func Admit(theirs, ours []Candidate) []Candidate {
	loopback := slices.ContainsFunc(ours, func(c Candidate) bool { return c.Addr.Addr().IsLoopback() })
	var ok []Candidate
	hosts := map[netip.Addr]int{}
	for _, c := range theirs {
		c.Addr = netip.AddrPortFrom(c.Addr.Addr().Unmap(), c.Addr.Port())
		if len(ok) == MaxCandidates {
			break
		}
		ip := c.Addr.Addr()
		if hosts[ip] == maxPerHost || c.Kind != Host && c.Kind != Srflx || c.Addr.Port() == 0 || !usable(c.Addr.Addr(), loopback) ||
			slices.ContainsFunc(ok, func(o Candidate) bool { return o.Addr == c.Addr }) ||
			slices.ContainsFunc(ours, func(o Candidate) bool { return o.Addr == c.Addr }) {
			continue
		}
		ok = append(ok, c)
		hosts[ip]++
	}
	return ok
}
