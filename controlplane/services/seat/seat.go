// Package seat tells two machines that run with the same key apart: a key has one
// seat at each service, and of two instances that want it the one that was started
// later has it.
package seat

import (
	"fmt"
	"net/netip"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// A Seat is who holds a key. The zero value is free.
type Seat struct {
	ID      string `json:"instance,omitempty"` // "": a deployed visor, which does not say
	Started int64  `json:"started,omitempty"`  // Unix milliseconds
	From    string `json:"from,omitempty"`     // where it is, in a stranger's words: see Class
}

// Take returns the seat after in, which is at from, has asked for it. It fails with
// deployment.ErrDuplicateKey where another instance, started later, holds it. (Of two
// that were started at once it is the one with the larger ID.)
func (s Seat) Take(in deployment.Instance, from string) (Seat, error) {
	if in.ID == "" {
		return s, nil // it cannot be told from others
	}
	if s.ID != "" && s.ID != in.ID && (s.Started > in.Started || s.Started == in.Started && s.ID > in.ID) {
		return s, deployment.ErrDuplicateKey.With(fmt.Sprintf("another machine, at %s, runs with this key and was started later; give each machine a key of its own", s.From))
	}
	return Seat{ID: in.ID, Started: in.Started, From: from}, nil
}

// Class says where an address is without saying which it is.
func Class(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return "an address known only to dmsg"
	case a.IsLoopback():
		return "a loopback address"
	case IsPrivate(a):
		return "a private address"
	case a.Is4():
		return "a public IPv4 address"
	}
	return "a public IPv6 address"
}

// IsPrivate says whether a is one that only some network of somebody's own knows:
// loopback, RFC 1918, RFC 4193, RFC 6598, RFC 3927 and what is no host's.
func IsPrivate(a netip.Addr) bool {
	a = a.Unmap()
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)
	return !a.IsGlobalUnicast() || a.IsPrivate() || shared.Contains(a)
}
