package link

import (
	"net/netip"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Policy says who may become a neighbour by connecting to us. Links that we
// open ourselves are not its concern.
type Policy struct {
	// Open admits every key; otherwise only those in Allow come in.
	Open  bool
	Allow map[cipher.PubKey]bool

	// MaxLinks bounds all links that others opened, MaxPerAddr those from one IPv4
	// address or IPv6 /64. 0 means no bound.
	MaxLinks   int
	MaxPerAddr int
}

// DefaultPolicy admits everybody, up to 4096 links and 64 from one place.
func DefaultPolicy() Policy { return Policy{Open: true, MaxLinks: 4096, MaxPerAddr: 64} }

func (p *Policy) admits(pk cipher.PubKey) bool { return p.Open || p.Allow[pk] }

// Expect lets peer connect to us, whatever the policy's list says, or no longer. Links
// that are up stay.
func (e *Engine) Expect(peer cipher.PubKey, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if yes {
		e.expected[peer] = true
	} else {
		delete(e.expected, peer)
	}
}

// place returns what limits per address count by: an IPv4 address or an IPv6 /64,
// which is the least that one customer gets.
func place(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // a valid address has these many bits
	return p
}
