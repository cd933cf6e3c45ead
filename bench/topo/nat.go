package topo

// A NAT says how a gate translates UDP, in the words of RFC 4787 (older ones in
// brackets). TCP goes out through all of them, and comes in through none.
type NAT uint8

const (
	// NoNAT is a public address.
	NoNAT NAT = iota
	// EndpointIndependent maps a port once, for all destinations, and lets in what
	// anybody sends there (full cone).
	EndpointIndependent
	// AddressRestricted maps like EndpointIndependent, and lets in what comes from
	// an address that the port has sent to (restricted cone).
	AddressRestricted
	// PortRestricted maps like EndpointIndependent, and lets in what comes from an
	// address and port that the port has sent to (port-restricted cone).
	PortRestricted
	// Symmetric maps each destination to another port, by chance, and lets in what
	// that destination answers.
	Symmetric
)

// NATs are all of them.
func NATs() []NAT {
	return []NAT{NoNAT, EndpointIndependent, AddressRestricted, PortRestricted, Symmetric}
}

// String returns the name of k: one word, as a test or a table has it.
func (k NAT) String() string {
	switch k {
	case NoNAT:
		return "none"
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressRestricted:
		return "address-restricted"
	case PortRestricted:
		return "port-restricted"
	case Symmetric:
		return "symmetric"
	}
	return "unknown"
}

// Punches reports whether two hosts behind a and b can reach each other over UDP, if
// both learn what their own gate maps to a third party and both send first. A
// symmetric gate answers from a port that nobody knew: whoever filters by port
// does not let it in (RFC 5128 section 3.3).
func Punches(a, b NAT) bool {
	if a < b {
		a, b = b, a
	}
	return a != Symmetric || b < PortRestricted
}
