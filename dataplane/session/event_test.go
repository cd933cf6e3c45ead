package session

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// diary keeps what OnRoute is told of routes to each peer that are not direct.
type diary struct {
	mu  sync.Mutex
	all map[cipher.PubKey][]RouteEvent
}

func (d *diary) told(in RouteInfo, e RouteEvent) {
	if in.Direct {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = make(map[cipher.PubKey][]RouteEvent)
	}
	d.all[in.Peer] = append(d.all[in.Peer], e)
}

func (d *diary) of(pk cipher.PubKey) []RouteEvent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.all[pk])
}

// line makes a route a-b-c with rules that expire after ttl.
func line(t *testing.T, ttl time.Duration) (a, b, c *node, told *diary) {
	t.Helper()
	told = &diary{}
	nodes := newNodes(t, 3, nodeOptions{ttl: ttl, told: told.told})
	a, b, c = nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	a.dial(c)
	eventually(t, "both ends to hear of it", func() bool {
		return slices.Contains(told.of(c.pk), RouteUp) && slices.Contains(told.of(a.pk), RouteUp)
	})
	return a, b, c, told
}

// TestProbesKeepRoutes: a route that nothing is sent on outlives its TTL twice, and all
// its rules with it.
func TestProbesKeepRoutes(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Second // a busy machine may miss probes for a while
	a, b, c, told := line(t, ttl)
	until := time.Now().Add(2*ttl + time.Second)
	eventually(t, "two TTLs to pass", func() bool { return time.Now().After(until) })
	for _, events := range [][]RouteEvent{told.of(c.pk), told.of(a.pk)} {
		if slices.ContainsFunc(events, RouteEvent.Gone) {
			t.Errorf("events %v: the route is gone", events)
		}
	}
	if n := forwarding(b); n != 2 {
		t.Errorf("%d forwarding rules left at the middle hop, want 2", n)
	}
}

func forwarding(n *node) (rules int) {
	for _, r := range n.forward.Rules() {
		if r.Op == "forward" {
			rules++
		}
	}
	return rules
}

// TestExpiredRouteIsRemoved: a route whose other end is gone is removed by its TTL, and
// its hops forget it.
func TestExpiredRouteIsRemoved(t *testing.T) {
	t.Parallel()
	a, b, c, told := line(t, 2*time.Second)
	c.stop()
	eventually(t, "the route to expire", func() bool {
		all := told.of(c.pk)
		return len(all) > 0 && all[len(all)-1] == RouteExpired
	})
	if all := told.of(c.pk); !slices.Contains(all, RouteSuspect) {
		t.Errorf("events %v, want suspicion before the end", all)
	}
	for _, r := range a.m.Routes() {
		if r.Peer == c.pk {
			t.Errorf("still there: %+v", r)
		}
	}
	if _, ok := a.m.Session(c.pk); ok {
		t.Error("its session is still there")
	}
	eventually(t, "the middle hop to forget it", func() bool { return forwarding(b) == 0 })
}

// TestCloseTravels: RemoveRoute at one end removes the route at the other and at all
// hops, long before their TTL.
func TestCloseTravels(t *testing.T) {
	told := &diary{}
	nodes := newNodes(t, 4, nodeOptions{ttl: time.Hour, told: told.told})
	a, b, c, d := nodes[0], nodes[1], nodes[2], nodes[3]
	connect(t, a, b)
	connect(t, b, c)
	connect(t, c, d)
	join(t, 100, a, b, c, d)
	a.dial(d)
	d.dial(a)
	for _, r := range a.m.Routes() {
		if r.Peer == d.pk {
			if err := a.m.RemoveRoute(r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "both ends to hear of the end", func() bool {
		return slices.Contains(told.of(d.pk), RouteRemoved) && slices.Contains(told.of(a.pk), RouteClosed)
	})
	eventually(t, "no rule to be left", func() bool { return forwarding(b)+forwarding(c) == 0 })
	for _, n := range []*node{a, d} {
		for _, r := range n.forward.Rules() {
			if r.Op == "deliver" {
				t.Errorf("an end kept its rule: %+v", r)
			}
		}
	}
}

// TestCloseIsIgnored: nobody can close what an operator has set, nor a direct route,
// nor with a close that makes no sense.
func TestCloseIsIgnored(t *testing.T) {
	b := newBare(t)
	closing := func(flags uint8, body ...byte) []byte {
		pkt := make([]byte, packet.Padded(len(body)))
		packet.RouteHeader{Kind: packet.KindClose, Flags: flags, Length: uint16(len(body))}.Put(pkt)
		copy(pkt[packet.RouteHeaderLen:], body)
		return pkt
	}
	receive := func(r *route, pkt []byte) RouteEvent {
		burst := &link.Burst{N: 1}
		burst.Pkt[0] = pkt
		r.Receive(burst, 0, 1, new(forward.Rule))
		return RouteEvent(r.over.Load())
	}
	for name, got := range map[string]RouteEvent{
		"without a TTL":  receive(b.sealed, closing(0, 2)),
		"a direct route": receive(b.direct, closing(0, 2)),
	} {
		if got != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	b.sealed.spec.TTL = time.Minute
	if got := receive(b.sealed, closing(1, 2)); got != 0 {
		t.Errorf("with a flag: %v", got)
	}
	if got := receive(b.sealed, closing(0)); got != 0 {
		t.Errorf("without a reason: %v", got)
	}
	if got := receive(b.sealed, closing(0, 2)); got != RouteClosed {
		t.Errorf("a proper one: %v", got)
	}
}

func TestIdleProbesFitTheTTL(t *testing.T) {
	for _, v := range []struct{ ttl, want time.Duration }{
		{0, idleProbe}, {time.Hour, idleProbe}, {time.Minute, idleProbe}, {8 * time.Second, 2 * time.Second},
	} {
		r := &route{spec: RouteSpec{TTL: v.ttl}}
		if got := r.idle(); got != v.want {
			t.Errorf("TTL %v: probed each %v, want %v", v.ttl, got, v.want)
		}
	}
	if got := (&route{direct: new(link.Link), spec: RouteSpec{TTL: time.Second}}).idle(); got != 0 {
		t.Errorf("a direct route is probed each %v", got)
	}
}
