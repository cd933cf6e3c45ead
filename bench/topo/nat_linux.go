package topo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// nftTimeout bounds one run of nft.
const nftTimeout = 10 * time.Second

// A gate is the router of one site: the Internet on one side, a LAN on the other.
type gate struct {
	ns   *Namespace
	kind NAT
	wan  *End
}

// translate makes g a NAT of its kind for the host, which is the only one that an
// EndpointIndependent or AddressRestricted gate may have: what these let in beyond
// what Linux's connection tracking would goes there.
//
// Linux keeps the source port of whatever it masquerades as long as it can, which is
// a mapping that does not depend on the endpoint; it lets in answers alone, which is
// port-restricted filtering. The set open has what goes beyond that. Packets that
// nobody asked for are dropped before connection tracking notes them: otherwise they
// would take the port away from the flow that goes out to their sender next.
func (g *gate) translate(host *End) error {
	var open, update, dnat string
	masquerade := "masquerade"
	switch g.kind {
	case EndpointIndependent:
		open, update, dnat = "inet_service", "udp sport", "udp dport"
	case AddressRestricted:
		open, update, dnat = "inet_service . ipv4_addr", "udp sport . ip daddr", "udp dport . ip saddr"
	case Symmetric:
		masquerade = "masquerade random,fully-random"
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("table ip gate {")
	if open != "" {
		line("set open { type %s; flags dynamic,timeout; timeout 2m; }", open)
		line("chain note { type filter hook forward priority 0; oifname %q meta l4proto udp update @open { %s }; }", g.wan.Dev, update)
		line("chain in { type nat hook prerouting priority dstnat; iifname %q %s @open dnat to %s; }", g.wan.Dev, dnat, host.IPv4.Addr())
	}
	line("chain out { type nat hook postrouting priority srcnat; oifname %q %s; }", g.wan.Dev, masquerade)
	line("chain self { type filter hook input priority 0; iifname %q ct state new drop; }", g.wan.Dev)
	line("}")
	// Nobody translates IPv6; what nobody asked for stays outside all the same.
	line("table ip6 gate {")
	line("chain self { type filter hook input priority 0; iifname %q meta l4proto { tcp, udp } ct state new drop; }", g.wan.Dev)
	line("chain through { type filter hook forward priority 0; iifname %q ct state new drop; }", g.wan.Dev)
	line("}")
	return g.nft(b.String())
}

// nft runs a script of nft(8) in g.
func (g *gate) nft(script string) error {
	ctx, cancel := context.WithTimeout(context.Background(), nftTimeout)
	defer cancel()
	cmd := g.ns.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("topo: nft in %s: %w: %s", g.ns.Name, err, out)
	}
	return nil
}

// forget drops all mappings, as a router does that is switched off and on.
func (g *gate) forget() error {
	if g.kind == EndpointIndependent || g.kind == AddressRestricted {
		if err := g.nft("flush set ip gate open\n"); err != nil {
			return err
		}
	}
	if err := g.ns.nl.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("topo: mappings of %s: %w", g.ns.Name, err)
	}
	return nil
}
