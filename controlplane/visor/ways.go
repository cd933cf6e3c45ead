package visor

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/apps/skynet"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/router"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// ways makes visors reachable, as *router.Router does.
type ways interface {
	Ensure(ctx context.Context, pk cipher.PubKey, p router.Policy) (class uint32, err error)
}

// reach returns the class under which streams go to pk as the policy wants. Without a
// router, and where an operator has set a route by hand, it is the ordinary one.
func (v *Visor) reach(ctx context.Context, pk cipher.PubKey, p api.RoutePolicy) (uint32, error) {
	if v.ways == nil {
		if !p.IsZero() {
			return 0, errNoNetwork()
		}
		return 0, nil
	}
	if p.IsZero() && v.plane.Static(pk) {
		return 0, nil
	}
	return v.ways.Ensure(ctx, pk, v.policy(p))
}

// policy returns what p wants, in which the configuration fills the gaps.
func (v *Visor) policy(p api.RoutePolicy) router.Policy {
	d := v.config().Routing.Policy()
	if p.MinHops == 0 {
		p.MinHops = d.MinHops
	}
	if p.MaxHops == 0 {
		p.MaxHops = max(d.MaxHops, p.MinHops)
	}
	if p.MuxRoutes == 0 {
		p.MuxRoutes = d.MuxRoutes
	}
	if len(p.Avoid) == 0 {
		p.Avoid = d.Avoid
	}
	if len(p.Prefer) == 0 {
		p.Prefer = d.Prefer
	}
	return router.Policy{MinHops: p.MinHops, MaxHops: p.MaxHops, Routes: p.MuxRoutes, Avoid: p.Avoid, Prefer: p.Prefer}
}

// appNetwork is the overlay as apps see it: addresses are text, "<pk>:<port>", and may
// say which way to take, "<pk>:<port>?min-hops=3", which is no matter of the app.
type appNetwork struct {
	overlay
	reach func(context.Context, cipher.PubKey, api.RoutePolicy) (uint32, error)
}

var _ skynet.Network = appNetwork{}

// Dial implements skynet.Network.
func (n appNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	pk, port, class, err := n.way(ctx, addr)
	if err != nil {
		return nil, err
	}
	return n.DialClass(ctx, pk, class, port)
}

// DialPacket implements skynet.Network.
func (n appNetwork) DialPacket(ctx context.Context, addr string) (net.Conn, error) {
	pk, port, class, err := n.way(ctx, addr)
	if err != nil {
		return nil, err
	}
	return n.DialPacketClass(ctx, pk, class, port)
}

// way makes the visor in addr reachable.
func (n appNetwork) way(ctx context.Context, addr string) (pk cipher.PubKey, port uint16, class uint32, err error) {
	at, policy, err := splitWay(addr)
	if err != nil {
		return pk, 0, 0, err
	}
	if pk, port, err = api.ParsePeer(at); err != nil {
		return pk, 0, 0, err
	}
	if class, err = n.reach(ctx, pk, policy); err != nil {
		return pk, 0, 0, fmt.Errorf("%s: %w", at, err)
	}
	return pk, port, class, nil
}

// Key implements skynet.Network.
func (n appNetwork) Key(addr net.Addr) string { return n.KeyOf(addr).String() }

// joinWay adds to an address the way to take.
func joinWay(addr string, p *api.RoutePolicy) string {
	if p == nil || p.IsZero() {
		return addr
	}
	q := url.Values{}
	for _, f := range []struct {
		name string
		n    int
	}{{"min-hops", p.MinHops}, {"max-hops", p.MaxHops}, {"mux-routes", p.MuxRoutes}} {
		if f.n != 0 {
			q.Set(f.name, strconv.Itoa(f.n))
		}
	}
	for _, pk := range p.Avoid {
		q.Add("avoid", pk.String())
	}
	for _, pk := range p.Prefer {
		q.Add("prefer", pk.String())
	}
	return addr + "?" + q.Encode()
}

// splitWay undoes joinWay.
func splitWay(text string) (addr string, p api.RoutePolicy, err error) {
	addr, query, ok := strings.Cut(text, "?")
	if !ok {
		return addr, p, nil
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return addr, p, fmt.Errorf("visor: way %q: %w", query, err)
	}
	for name, values := range q {
		for _, value := range values {
			if err := setWay(&p, name, value); err != nil {
				return addr, p, fmt.Errorf("visor: way %q: %w", query, err)
			}
		}
	}
	return addr, p, p.Validate()
}

func setWay(p *api.RoutePolicy, name, value string) (err error) {
	switch name {
	case "min-hops":
		p.MinHops, err = strconv.Atoi(value)
	case "max-hops":
		p.MaxHops, err = strconv.Atoi(value)
	case "mux-routes":
		p.MuxRoutes, err = strconv.Atoi(value)
	case "avoid", "prefer":
		var pk cipher.PubKey
		if pk, err = cipher.ParsePubKeyText(value); err != nil {
			return err
		}
		if name == "avoid" {
			p.Avoid = append(p.Avoid, pk)
		} else {
			p.Prefer = append(p.Prefer, pk)
		}
	default:
		err = fmt.Errorf("%q is not known", name)
	}
	return err
}
