package link

import (
	"net/netip"
	"slices"
	"sync"
)

// What has been accepted and has not proved a key yet, in all and from one place.
// Each costs a file descriptor and a goroutine for streamPatience.
const (
	maxAccepted        = 256
	maxAcceptedPerAddr = 16
)

// An acceptGate bounds the connections that have not proved a key yet. Whoever comes
// gets in: when all places are taken, the connection gives way that has had the most
// time of those from where most come. A flood so displaces itself, and a neighbour has
// as long as it takes to open another 256 connections, or 16 from its own address.
type acceptGate struct {
	// curves is held while a handshake is computed: a flood of connections gets one
	// core at most, and the others wait for their turn.
	curves chan struct{}

	mu      sync.Mutex
	n       int
	arrived uint64
	waiting map[netip.Prefix][]*unproved // oldest first, never empty
}

// An unproved is one such connection.
type unproved struct {
	number  uint64 // by time of arrival
	giveWay func()
}

func newAcceptGate() *acceptGate {
	return &acceptGate{curves: make(chan struct{}, 1), waiting: map[netip.Prefix][]*unproved{}}
}

// enter takes a place for a connection from a. giveWay is called, at most once and on
// any goroutine, if it has to go before its time; crowded says that another had to.
// leave gives the place back; it may be called more than once and in any case.
func (g *acceptGate) enter(a netip.Addr, giveWay func()) (leave func(), crowded bool) {
	at := place(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	var old *unproved
	switch {
	case len(g.waiting[at]) >= maxAcceptedPerAddr:
		old = g.remove(at, g.waiting[at][0])
	case g.n >= maxAccepted:
		most := g.most()
		old = g.remove(most, g.waiting[most][0])
	}
	g.arrived++
	u := &unproved{number: g.arrived, giveWay: giveWay}
	g.waiting[at] = append(g.waiting[at], u)
	g.n++
	if old != nil {
		old.giveWay()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.remove(at, u)
	}, old != nil
}

// most returns the place with the most connections, of several the one with the
// oldest. mu is held.
func (g *acceptGate) most() (most netip.Prefix) {
	for at, of := range g.waiting {
		n := len(g.waiting[most])
		if len(of) > n || len(of) == n && of[0].number < g.waiting[most][0].number {
			most = at
		}
	}
	return most
}

// remove takes u, from at, out if it is there, and returns it. mu is held.
func (g *acceptGate) remove(at netip.Prefix, u *unproved) *unproved {
	of := g.waiting[at]
	i := slices.Index(of, u)
	if i < 0 {
		return nil
	}
	g.n--
	if of = slices.Delete(of, i, i+1); len(of) == 0 {
		delete(g.waiting, at)
	} else {
		g.waiting[at] = of
	}
	return u
}
