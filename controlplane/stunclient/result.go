package stunclient

import "net/netip"

// A Behaviour is what a NAT's mapping or filtering goes by (RFC 4787, sections 4.1
// and 5).
type Behaviour uint8

// The behaviours.
const (
	// Unknown: no server answered, or none has a second port.
	Unknown Behaviour = iota
	// None: no NAT; the socket's own address is the mapped one.
	None
	// EndpointIndependent: one mapping for all; anyone may send to it.
	EndpointIndependent
	// AddressDependent: by the remote address. Where servers have one address each,
	// filtering that lets another port of the same address through is called so, for
	// more was not seen.
	AddressDependent
	// PortDependent: by remote address and port. As a mapping it is what is called a
	// symmetric NAT.
	PortDependent
)

// String returns a few plain words.
func (b Behaviour) String() string {
	switch b {
	case None:
		return "none"
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case PortDependent:
		return "address-and-port-dependent"
	}
	return "unknown"
}

// A NAT is what was learnt for one address family.
type NAT struct {
	// Mapped is the socket's address as the first server saw it.
	Mapped netip.AddrPort
	// All are the addresses that different servers and ports saw, each once, Mapped
	// first. Of more than one, none is good for others.
	All []netip.AddrPort
	// Mapping is None or EndpointIndependent where a hole can be punched with ease.
	Mapping Behaviour
	// Filtering is what the NAT, or a firewall, lets in; Unknown unless it was asked
	// for.
	Filtering Behaviour
}

// A Result is what Discover learnt. A family without an answer is nil.
type Result struct {
	V4, V6 *NAT
	// Failed are the servers that were not of use, and why.
	Failed []Failure
}

// A Failure says why a server was not of use.
type Failure struct {
	Server string
	Err    error
}
