package visor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// probeTimeout is how long a setup node or a relay may take to let us in.
const probeTimeout = 6 * time.Second

// checkRelays looks at the visor's presence in its dmsg networks.
func (v *Visor) checkRelays(context.Context) finding {
	var f finding
	for _, n := range v.network.dmsg {
		name := "relays"
		if len(v.network.dmsg) > 1 {
			name = "relays of " + v.network.label(n)
		}
		s := n.status()
		var best time.Duration
		for _, r := range s.Relays {
			if rtt := time.Duration(r.RTTMicros) * time.Microsecond; best == 0 || rtt < best {
				best = rtt
			}
		}
		switch {
		case len(s.Relays) == 0:
			f = append(f, fail(name, "can this machine open TCP connections to the outside? Without a relay nobody finds this visor, and no NAT is passed", "none is connected"))
		case !s.Reachable:
			f = append(f, fail(name, "the discovery of the dmsg network has to answer; see above", "%d connected, but others do not know it: %s", len(s.Relays), cmp.Or(s.LastError, "the discovery has not been told yet")))
		case len(s.Relays) == 1:
			f = append(f, ok(name, "1 connected, %s away; when it fails, the visor is hard to find until it has found another", round(best)))
		default:
			f = append(f, ok(name, "%d connected, the nearest %s away", len(s.Relays), round(best)))
		}
	}
	return f
}

// label names a dmsg network for people.
func (n *network) label(d *dmsgNet) string {
	for _, m := range n.members {
		if m.dmsg == d {
			return nameOf(m.conf)
		}
	}
	return "the section dmsg"
}

// checkSetupNodes opens a stream to each setup node.
func (v *Visor) checkSetupNodes(ctx context.Context) finding {
	var f finding
	for _, m := range v.network.members {
		name := "setup nodes"
		if len(v.network.members) > 1 {
			name += " of " + nameOf(m.conf)
		}
		nodes := m.setupNodes(v.config().Routing.SetupNodes)
		if m.node != nil && !slices.Contains(nodes, v.pk) {
			nodes = append(nodes, v.pk)
		}
		if len(nodes) == 0 {
			f = append(f, warn(name, "routes over several hops need one: in route_setup_nodes of the deployment, or trust one with \"skyctl config gen --setup-node PK\"", "none is known"))
			continue
		}
		errs := make([]error, len(nodes))
		took := make([]time.Duration, len(nodes))
		var wg sync.WaitGroup
		for i, pk := range nodes {
			wg.Go(func() { took[i], errs[i] = v.knock(ctx, m, pk) })
		}
		wg.Wait()
		var best time.Duration
		var last error
		up := 0
		for i, err := range errs {
			if err != nil {
				last = fmt.Errorf("%s…: %w", nodes[i].Short(), err)
				continue
			}
			if up++; best == 0 || took[i] < best {
				best = took[i]
			}
		}
		const advice = "routes over several hops cannot be set up until one is back; direct transports work without"
		switch {
		case up == 0:
			f = append(f, fail(name, advice, "none of %d answers: %v", len(nodes), last))
		case up < len(nodes):
			f = append(f, warn(name, "", "%d of %d answer, the quickest in %s; %v", up, len(nodes), round(best), last))
		default:
			f = append(f, ok(name, "%d of %d answer, the quickest in %s", up, len(nodes), round(best)))
		}
	}
	return f
}

// knock opens a stream to a setup node, and closes it.
func (v *Visor) knock(ctx context.Context, m *member, pk cipher.PubKey) (time.Duration, error) {
	if pk == v.pk && m.node != nil {
		return time.Microsecond, nil // it is this visor
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	start := time.Now()
	st, err := m.dmsg.client.Dial(ctx, proto.Addr{PK: pk, Port: setup.NodePort})
	switch {
	case errors.Is(err, proto.ErrNoEntry):
		return 0, errors.New("it is not online")
	case errors.Is(err, proto.ErrNoListener):
		return 0, errors.New("who has that key is no setup node")
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("no answer within %v", probeTimeout)
	case err != nil:
		return 0, err
	}
	took := time.Since(start)
	st.Reset()
	return took, nil
}

// checkOwnRelay connects to the relay inside the visor the way others do.
func (v *Visor) checkOwnRelay(ctx context.Context) finding {
	r := v.network.relay
	if r == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.conf.PublicAddress)
	if err != nil {
		return finding{warn("own relay", "if this machine is behind a router, forward that TCP port to it; some routers do not lead back in, so try from outside too", "not reached from here at its public address %s: %v", r.conf.PublicAddress, err)}
	}
	_ = conn.Close()
	return finding{ok("own relay", "listens at %s; others pin it as %s@%s", r.conf.Listen, r.pk, r.conf.PublicAddress)}
}
