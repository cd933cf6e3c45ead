package main

import (
	"errors"
	"os"
	"os/exec"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/topo"
)

// drawing is the world in namespaces.
const drawing = `
    services   relay     A     B     C
        └────────┴───────┼─────┴─────┘
                     Internet
                 ┌───────┴───────┐
                NAT             NAT
                 D               E

Nine machines, each in a network namespace of its own. Nobody reaches D or E from outside.`

// newWorld returns an Internet in network namespaces or, where that is not to be had, the
// loopback interface.
func newWorld() (*world, error) {
	const missing = "What is missing: NATs, and holes punched through them. "
	if os.Geteuid() != 0 {
		return loopback(missing + "As root, every visor has a network namespace of its own, two of them behind NATs."), nil
	}
	if !hasNFT() {
		return loopback(missing + "With nft (Debian package nftables) there are NATs, and network namespaces for all visors."), nil
	}
	n, err := topo.New(zerolog.Nop())
	if err != nil {
		return nil, err
	}
	w, err := internet(n)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return w, nil
}

// hasNFT says whether NATs can be made.
func hasNFT() bool {
	_, err := exec.LookPath("nft")
	return err == nil
}

// internet fills n with the hosts of the drawing.
func internet(n *topo.Net) (*world, error) {
	in, err := n.Internet(false)
	if err != nil {
		return nil, err
	}
	w := &world{about: drawing, close: n.Close}
	kinds := map[string]topo.NAT{"D": topo.PortRestricted, "E": topo.AddressRestricted}
	host := func(name string) (*topo.Host, cluster.Place, error) {
		h, err := in.Host(name, kinds[name], topo.Wire{})
		if err != nil {
			return nil, cluster.Place{}, err
		}
		return h, cluster.At(h, name), nil
	}
	if _, w.services, err = host("services"); err != nil {
		return nil, err
	}
	if _, w.relay, err = host("relay"); err != nil {
		return nil, err
	}
	for i, name := range names {
		h, place, err := host(name)
		if err != nil {
			return nil, err
		}
		w.visors[i] = place
		w.roam = func() error { return h.Move(topo.Symmetric) } // the last one's stays
	}
	return w, nil
}
