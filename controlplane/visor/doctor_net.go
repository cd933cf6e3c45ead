package visor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/stunclient"
	"github.com/skyminer/skywire/controlplane/transport"
)

// checkKey says whether another visor has this one's key.
func (v *Visor) checkKey(context.Context) finding {
	if v.network.transports == nil {
		return nil
	}
	for _, i := range v.network.transports.Members() {
		if i.Quarantined != "" {
			return finding{fail("key", "stop the other visor, or give one of the two a key of its own: \"skyctl keygen\", then a new configuration", "%s", i.Quarantined)}
		}
	}
	return finding{ok("key", "no other visor uses it")}
}

// checkNAT finds out what stands between the visor's UDP socket and the world.
func (v *Visor) checkNAT(ctx context.Context) finding {
	var servers []string
	for _, m := range v.network.members {
		for _, s := range m.conf.STUNServers {
			if !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	if len(servers) == 0 {
		if len(v.network.members) == 0 {
			return nil
		}
		return finding{skip("NAT", "the deployment has no STUN server that could tell")}
	}
	// A socket of its own: a NAT treats it like the visor's, which is busy.
	pc, err := net.ListenUDP("udp", nil)
	if err != nil {
		return finding{fail("NAT", "", "no UDP socket: %v", err)}
	}
	defer pc.Close()
	r, err := stunclient.Discover(ctx, pc, servers, stunclient.Options{Filtering: true})
	switch {
	case errors.Is(err, stunclient.ErrNoServer):
		return finding{fail("NAT", "does this machine resolve names?", "no STUN server could be asked: %v", err)}
	case err != nil:
		return finding{fail("NAT", "a firewall may drop UDP: allow it to the outside; until then transports go over TCP and relays", "no STUN server answers over UDP (%s)", strings.Join(servers, ", "))}
	}
	var f finding
	for _, n := range []struct {
		family string
		nat    *stunclient.NAT
	}{{"NAT, IPv4", r.V4}, {"NAT, IPv6", r.V6}} {
		if n.nat != nil {
			f = append(f, natCheck(n.family, n.nat))
		}
	}
	return f
}

// natCheck says in plain words what a NAT means.
func natCheck(name string, n *stunclient.NAT) api.Check {
	seen := n.Mapped.Addr()
	switch n.Mapping {
	case stunclient.None:
		// AddressDependent is no firewall yet: a server with one address sees no more.
		if n.Filtering == stunclient.PortDependent {
			return ok(name, "none, but a firewall lets in only answers; holes can be punched (%s)", seen)
		}
		return ok(name, "none: this machine has the public address %s", seen)
	case stunclient.EndpointIndependent:
		return ok(name, "an easy one (%s): UDP holes can be punched; seen from outside as %s", filtering(n.Filtering), seen)
	case stunclient.AddressDependent, stunclient.PortDependent:
		return warn(name, "direct transports work to visors without such a NAT; to others it takes a relay. A port forwarded for TCP to listen_tcp helps, or another router", "a symmetric one: every destination sees another address of ours, so holes can hardly be punched; seen from outside as %s", addresses(n.All))
	}
	return ok(name, "of unknown kind; seen from outside as %s", seen)
}

func filtering(b stunclient.Behaviour) string {
	switch b {
	case stunclient.EndpointIndependent:
		return "it lets in everybody"
	case stunclient.AddressDependent:
		return "it lets in whom we have sent to, or everybody"
	case stunclient.PortDependent:
		return "it lets in the very port that we have sent to"
	}
	return "what it lets in is not known"
}

func addresses(all []netip.AddrPort) string {
	var texts []string
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// checkReach says whether others can connect over TCP, as the address resolvers found by
// dialling back.
func (v *Visor) checkReach(context.Context) finding {
	if v.network.transports == nil {
		return nil
	}
	var f finding
	for _, i := range v.network.transports.Members() {
		name := "reachable by TCP"
		if len(v.network.members) > 1 {
			name += ", " + i.Name
		}
		switch {
		case v.config().ListenTCP == "":
			f = append(f, skip(name, "listen_tcp is empty: nobody can connect over TCP"))
		case i.ARError != "":
			f = append(f, warn(name, "", "the address resolver does not know this visor: %s", i.ARError))
		case i.Bound.Reachable:
			f = append(f, ok(name, "yes, at %s", i.Bound.RemoteAddr))
		case i.Bound.RemoteAddr.IsValid():
			f = append(f, warn(name, fmt.Sprintf("if this machine is to take transports from everybody, forward a TCP port of the router to it and set listen_tcp to that port; else nothing is to be done, hole punching and relays do (tried %s)", i.Bound.RemoteAddr), "no: %s", orUnknown(i.Bound.Why)))
		case i.Bound.Why != "":
			f = append(f, skip(name, "%s", i.Bound.Why))
		default:
			f = append(f, skip(name, "no address resolver has tried yet"))
		}
	}
	return f
}

func orUnknown(s string) string {
	if s == "" {
		return "nobody answers there"
	}
	return s
}

// checkTransports says how many transports there are, and whether they are registered.
func (v *Visor) checkTransports(context.Context) finding {
	if v.network.transports == nil {
		return nil
	}
	up, listed := 0, 0
	var trouble string
	for _, i := range v.network.transports.List() {
		if i.State != transport.StateUp {
			continue
		}
		up++
		if i.Registered {
			listed++
		} else if i.Why != "" {
			trouble = i.Why
		}
	}
	switch {
	case up == 0 && !v.config().Transport.Auto:
		return finding{warn("transports", "\"skyctl transport add PK\" makes one; \"skyctl transport auto on\" has the visor make some by itself", "none is up")}
	case up == 0:
		return finding{warn("transports", "in a young network that is normal; look at \"skyctl services sd visor\" for visors to connect to, and at what failed above", "none is up")}
	case listed == 0:
		return finding{warn("transports", "routes of others do not pass here, and this visor is not found over several hops", "%d up, none is registered: %s", up, orUnknown(trouble))}
	}
	return finding{ok("transports", "%d up, %d of them registered", up, listed)}
}

// leastMTU is what an ordinary line carries in a route packet at least.
const leastMTU = 1200

// checkMTU looks at the largest packets that pass the links over UDP.
func (v *Visor) checkMTU(context.Context) finding {
	least, most := 0, 0
	for _, l := range v.linkList() {
		if l.State != api.LinkUp || l.Type != api.SUDPH || l.MTU == 0 {
			continue
		}
		if least == 0 || l.MTU < least {
			least = l.MTU
		}
		most = max(most, l.MTU)
	}
	switch {
	case least == 0:
		return finding{skip("packet size", "no link over UDP is up")}
	case least < leastMTU:
		return finding{warn("packet size", "a tunnel or a misconfigured line on the way; it works, but slowly", "one of the links over UDP carries only %d bytes at once", least)}
	}
	return finding{ok("packet size", "links over UDP carry %d to %d bytes at once", least, most)}
}

// checkPublic says whether a visor that is to be public is.
func (v *Visor) checkPublic(ctx context.Context) finding {
	a, err := v.AutoTransports(ctx)
	switch {
	case err != nil, !a.Public:
		return nil
	case a.PublicWhy != "":
		return finding{fail("public", "everybody has to be able to connect to listen_tcp: open that port in the firewall, forward it in the router, or set transport.public to false", "it is not listed: %s", a.PublicWhy)}
	}
	return finding{ok("public", "listed in the service discovery")}
}
