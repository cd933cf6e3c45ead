//go:build e2e && linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
)

// TestNATs connects visors behind every kind of NAT with visors behind every kind, over
// UDP alone. Where a hole can be punched they become direct neighbours; where it cannot,
// neighbours over dmsg.
//
//	a0 ── none ──────────┐             ┌────────── none ── b0
//	a1 ── endpoint-ind. ─┤             ├─ endpoint-ind. ── b1
//	a2 ── address-restr. ┼─ Internet ──┼ address-restr. ── b2
//	a3 ── port-restr. ───┤      │      ├─── port-restr. ── b3
//	a4 ── symmetric ─────┘ deployment  └───── symmetric ── b4
func TestNATs(t *testing.T) {
	w := newWorld(t, 3*time.Minute, false)
	d := w.deploy("services")
	var as, bs []*node
	for i, kind := range topo.NATs() {
		as = append(as, w.join(fmt.Sprint("a", i), kind, only(api.SUDPH), d))
		bs = append(bs, w.join(fmt.Sprint("b", i), kind, only(api.SUDPH), d))
	}
	w.online(append(as, bs...)...)
	start := time.Now()
	var g errgroup.Group
	g.SetLimit(5)
	for shift := range bs {
		for i := range as {
			a, b := as[i], bs[(i+shift)%len(bs)] // of five in a row none share a visor
			g.Go(func() error {
				_, err := a.AddTransport(w.ctx, api.TransportSpec{PK: b.PK}, false)
				if err != nil {
					return fmt.Errorf("%s to %s: %w", a.host.Kind, b.host.Kind, err)
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("25 pairs connected in %v", time.Since(start).Round(time.Millisecond))
	for _, a := range as {
		for _, b := range bs {
			want := api.SUDPH
			if !topo.Punches(a.host.Kind, b.host.Kind) {
				want = api.DMSG
			}
			what := fmt.Sprintf("%s to %s is not %s", a.host.Kind, b.host.Kind, want)
			w.eventually(20*time.Second, what, func() bool { return a.transport(b).Type == want && b.transport(a).Type == want })
			w.eventually(5*time.Second, what+", or carries nothing", func() bool { return a.pings(b) })
		}
	}
	t.Logf("all is as it should be after %v", time.Since(start).Round(time.Millisecond))

	// Where there is a relay between them, it is because there is no other way.
	a, b := as[len(as)-1], bs[len(bs)-1]
	start = time.Now()
	_, err := a.AddTransport(w.ctx, api.TransportSpec{PK: b.PK, Type: api.SUDPH}, false)
	if took := time.Since(start); err == nil || took > 11*time.Second {
		t.Errorf("a hole from symmetric to symmetric: %v after %v, want an error within 10 s", err, took)
	}
	t.Logf("no hole from symmetric to symmetric after %v: %v", time.Since(start).Round(time.Millisecond), err)
}

// TestIPv6: gates that nobody could punch through for IPv4, and IPv6 between the visors.
//
//	a ── symmetric ── Internet ── symmetric ── b
func TestIPv6(t *testing.T) {
	w := newWorld(t, time.Minute, true)
	d := w.deploy("services")
	a, b := w.join("a", topo.Symmetric, nil, d), w.join("b", topo.Symmetric, nil, d)
	w.online(a, b)
	if _, err := a.AddTransport(w.ctx, api.TransportSpec{PK: b.PK, Type: api.SUDPH}, false); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b} {
		other := a
		if n == a {
			other = b
		}
		w.eventually(10*time.Second, fmt.Sprintf("%s has %s not at its IPv6 address", n.ns.Name, other.ns.Name), func() bool {
			at, err := netip.ParseAddrPort(n.transport(other).Addr)
			return err == nil && at.Addr() == other.host.Addr.IPv6.Addr()
		})
	}
}

// TestOneLAN: two visors behind one gate are neighbours by their private addresses.
//
//	a ─┐
//	   ├─ port-restricted ── Internet
//	b ─┘
func TestOneLAN(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	d := w.deploy("services")
	a := w.join("a", topo.PortRestricted, nil, d)
	mate, err := a.host.Mate("b")
	if err != nil {
		t.Fatal(err)
	}
	b := w.joinAt(mate, nil, d)
	w.online(a, b)
	if _, err := a.AddTransport(w.ctx, api.TransportSpec{PK: b.PK, Type: api.SUDPH}, false); err != nil {
		t.Fatal(err)
	}
	if addr, want := a.transport(b).Addr, b.host.Addr.IPv4.Addr().String(); !strings.HasPrefix(addr, want+":") {
		t.Errorf("a has b at %q, want %s", addr, want)
	}
}

// TestNetworkChange: of two visors with a transfer under way one gets another address, again and
// again: behind another gate, without one, and where no hole can be punched. Its transport
// and its transfer go on within five seconds.
//
//	a ── port-restricted ── Internet ── port-restricted ── b
func TestNetworkChange(t *testing.T) {
	w := newWorld(t, 2*time.Minute, false)
	d := w.deploy("services")
	a, b := w.join("a", topo.PortRestricted, only(api.SUDPH), d), w.join("b", topo.PortRestricted, only(api.SUDPH), d)
	w.online(a, b)
	a.meet("", b) // whatever works
	s := b.serve()
	b.expose(s, 80, "--allow", a.PK.String())
	x := a.send(a.reach(b, 80), endless)
	w.eventually(10*time.Second, "nothing arrives", func() bool { return s.received.Load() > 4<<20 })
	moves := []struct {
		n    *node
		kind topo.NAT
	}{{a, topo.PortRestricted}, {a, topo.NoNAT}, {b, topo.AddressRestricted}, {b, topo.PortRestricted}, {a, topo.Symmetric}, {b, topo.Symmetric}}
	for _, m := range moves {
		n, kind := m.n, m.kind
		if err := n.host.Move(kind); err != nil {
			t.Fatal(err)
		}
		start, before := time.Now(), s.received.Load()
		w.eventually(30*time.Second, "the transfer does not go on", func() bool { return s.received.Load() > before+1<<20 })
		took := time.Since(start)
		t.Logf("%s moved behind %s: 1 MiB more after %v", n.ns.Name, kind, took.Round(time.Millisecond))
		if took > healTime {
			t.Errorf("%s moved behind %s: it took %v, want at most %v", n.ns.Name, kind, took, healTime)
		}
		want := api.SUDPH
		if !topo.Punches(a.host.Kind, b.host.Kind) {
			want = api.DMSG
		}
		w.eventually(20*time.Second, "the transport is not "+want, func() bool { return a.transport(b).Type == want })
	}
	if err := x.finish(); err != nil {
		t.Error(err)
	}
}

// healTime is how long a change of the network may be felt, on a machine that has other
// things to do as well.
const healTime = 8 * time.Second
