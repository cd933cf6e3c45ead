package relay

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A place is what sessions of one address count against together: an IPv4 address,
// or an IPv6 /64, which is what a customer gets.
type place struct{ netip.Prefix }

// placeOf returns the place of an address. What is no IP address shares one place.
func placeOf(addr net.Addr) place {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return place{}
	}
	return placeOfIP(ap.Addr())
}

func placeOfIP(ip netip.Addr) place {
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return place{}
	}
	return place{p}
}

// Handshakes at a time are bounded by maxHandshakes and by a part of all sessions,
// but fewHandshakes are always let in: who has not proven a key must not take the
// places of those who have.
const (
	maxHandshakes  = 4096
	handshakeShare = 4
	fewHandshakes  = 16
)

// A gate counts who is in, by place and by key.
type gate struct {
	max, maxShakes, perPlace, perKey int

	mu     sync.Mutex
	places map[place]int // sessions and handshakes
	total  int           // likewise
	shakes int           // handshakes of these
	keys   map[cipher.PubKey]*rate
}

// A rate counts what a key did since a time.
type rate struct {
	since time.Time
	n     int
}

func newGate(c *Config) *gate {
	return &gate{
		max: c.MaxSessions, maxShakes: min(maxHandshakes, max(fewHandshakes, c.MaxSessions/handshakeShare)), perPlace: c.MaxPerAddress, perKey: c.MaxPerKey,
		places: map[place]int{}, keys: map[cipher.PubKey]*rate{},
	}
}

// enter lets a connection in for its handshake, or says why not.
func (g *gate) enter(at place) Reason {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.total >= g.max || g.shakes >= g.maxShakes:
		return RefusedTotal
	case g.perPlace > 0 && g.places[at] >= g.perPlace:
		return RefusedAddress
	}
	g.total++
	g.shakes++
	g.places[at]++
	return ReasonNone
}

// proven notes that the handshake has ended well, for that key, which may come
// perKey times a minute.
func (g *gate) proven(pk cipher.PubKey, now time.Time) Reason {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.keys[pk]
	if r == nil || now.Sub(r.since) >= time.Minute {
		r = &rate{since: now}
		g.keys[pk] = r
	}
	if r.n++; r.n > g.perKey {
		return RefusedKey
	}
	g.shakes--
	return ReasonNone
}

// leave gives a place back. shaking says that the handshake has not ended well.
func (g *gate) leave(at place, shaking bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if shaking {
		g.shakes--
	}
	if g.places[at]--; g.places[at] == 0 {
		delete(g.places, at)
	}
}

// tidy forgets keys whose minute is over.
func (g *gate) tidy(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pk, r := range g.keys {
		if now.Sub(r.since) >= time.Minute {
			delete(g.keys, pk)
		}
	}
}

func (g *gate) handshaking() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shakes
}
