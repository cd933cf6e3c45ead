package main

import (
	"net/netip"

	"github.com/skyminer/skywire/bench/cluster"
)

// A world has three places in a row.
type world struct {
	about  string
	places [3]cluster.Place
	middle [2]netip.Addr // B's address, as A and as C see it
	prove  func(d *demo) error
	close  func() error
}

// loopback returns a world on this machine's loopback interface; why says what is
// missing for more.
func loopback(why string) *world {
	l := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return &world{
		about:  "all on the loopback interface: " + why,
		places: [3]cluster.Place{cluster.Loopback("A"), cluster.Loopback("B"), cluster.Loopback("C")},
		middle: [2]netip.Addr{l, l},
		prove:  func(*demo) error { return nil },
		close:  func() error { return nil },
	}
}
