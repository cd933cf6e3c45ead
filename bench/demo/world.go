package main

import "github.com/skyminer/skywire/bench/cluster"

// names are those of the five visors.
var names = [5]string{"A", "B", "C", "D", "E"}

// A world is where the demo takes place.
type world struct {
	about           string // for whoever watches
	services, relay cluster.Place
	visors          [5]cluster.Place
	// roam takes E to a network where no hole can be punched; nil: there are no NATs.
	roam  func() error
	close func() error
}

// loopback returns a world on this machine's loopback interface; why says what is
// missing for more.
func loopback(why string) *world {
	w := &world{
		about:    "Everything shares the loopback interface of this machine. " + why,
		services: cluster.Loopback("services"), relay: cluster.Loopback("relay"),
		close: func() error { return nil },
	}
	for i, name := range names {
		w.visors[i] = cluster.Loopback(name)
	}
	return w
}
