package scenario

import (
	"net/netip"

	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Labels of the static routes, the same at each hop.
const (
	chainForth = 21 // from the first visor to the last
	chainBack  = 22
)

// chainOf returns the configurations of visors in a row, joined by the wires: each
// dials the next. The first and the last have a session with each other;
// over one hop it is direct and needs no rules.
//
//	0 ──▶ 1 ──▶ … ──▶ n
func chainOf(wires []*topo.Link, transport string) (cfgs []nodeConfig, keys []cipher.PubKey) {
	last := len(wires)
	keys, secrets := keyPairs(last + 1)
	for _, sk := range secrets {
		cfgs = append(cfgs, nodeConfig{
			Secret: sk,
			Listen: netip.AddrPortFrom(netip.IPv4Unspecified(), linkPort).String(),
		})
	}
	for i, l := range wires {
		cfgs[i].Links = []api.LinkSpec{{
			PK: keys[i+1], Type: transport, Addr: netip.AddrPortFrom(l.B.IPv4.Addr(), linkPort).String(),
		}}
	}
	if last < 2 {
		return cfgs, keys
	}
	at := func(i int, label uint32) api.Hop { return api.Hop{Link: keys[i], Label: label} }
	cfgs[0].Rules = []api.Rule{{In: at(1, chainBack), Out: at(1, chainForth), Peer: &keys[last]}}
	cfgs[last].Rules = []api.Rule{{In: at(last-1, chainForth), Out: at(last-1, chainBack), Peer: &keys[0]}}
	for i := 1; i < last; i++ {
		cfgs[i].Rules = []api.Rule{
			{In: at(i-1, chainForth), Out: at(i+1, chainForth)},
			{In: at(i+1, chainBack), Out: at(i-1, chainBack)},
		}
	}
	return cfgs, keys
}
