package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/topo"
)

// newWorld returns three network namespaces in a row or, without root, the loopback
// interface.
func newWorld() (*world, error) {
	if os.Geteuid() != 0 {
		return loopback("as root, each visor would have a network namespace of its own, and A could not reach C but through B"), nil
	}
	chain, err := topo.Chain(zerolog.Nop(), 3)
	if err != nil {
		return nil, err
	}
	w := &world{about: "three network namespaces; no packet of A reaches C but through visor B", close: chain.Close}
	for i, ns := range chain.NS {
		w.places[i] = cluster.In(ns, string(rune('A'+i)))
	}
	w.middle[0] = chain.Links[0].B.IPv4.Addr()
	w.middle[1] = chain.Links[1].A.IPv4.Addr()
	w.prove = func(d *demo) error {
		c := net.JoinHostPort(chain.Links[1].B.IPv4.Addr().String(), "7777")
		conn, err := w.places[0].Dial(c)
		if err == nil {
			return errors.Join(fmt.Errorf("place A reaches %s without any visor", c), conn.Close())
		}
		d.say("  A cannot reach C by itself: %v", err)
		return nil
	}
	return w, nil
}
