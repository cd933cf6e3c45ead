//go:build e2e && linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// overHops is the policy of routes of exactly n hops.
func overHops(n int) api.RoutePolicy { return api.RoutePolicy{MinHops: n, MaxHops: n} }

// route makes n set up a route, and returns what is in use.
func (n *node) mustConnect(to *node, p api.RoutePolicy) []api.Path {
	n.rig.t.Helper()
	paths, err := n.Connect(n.rig.ctx, api.ConnectSpec{PK: to.PK, Policy: p})
	if err != nil {
		n.rig.t.Fatalf("%s to %s: %v", n.ns.Name, to.ns.Name, err)
	}
	return paths
}

// up are the routes of a visor to another one that are in use, by the names of what they
// pass.
func (n *node) up(to *node, all ...*node) []string {
	n.rig.t.Helper()
	paths, err := n.Active(n.rig.ctx)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	var found []string
	for _, p := range paths {
		if p.PK == to.PK && p.State == api.PathUp && len(p.Hops) > 1 {
			found = append(found, hops(p, all...))
		}
	}
	return found
}

// TestRoute moves a file over three hops that nobody has configured, traces them, and
// is told why there are no four.
//
//	a ── b ── c ── d
func TestRoute(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	dep := w.deploy("services")
	all := w.joinAll(dep, "a", "b", "c", "d")
	a, b, c, d := all[0], all[1], all[2], all[3]
	a.meet(api.STCPR, b)
	b.meet(api.SUDPH, c)
	c.meet(api.DMSG, d)

	start := time.Now()
	paths := a.mustConnect(d, overHops(3))
	t.Logf("a route of three hops after %v", time.Since(start).Round(time.Millisecond))
	if len(paths) != 1 || hops(paths[0], all...) != "b c d" {
		t.Errorf("paths %+v, want b c d", paths)
	}
	s := d.serve()
	d.expose(s, 80, "--allow", a.PK.String())
	if err := <-a.send(a.reach(d, 80, "--min-hops", "3"), 16<<20).done; err != nil {
		t.Error(err)
	}
	if n := carried(b); n < 16<<20 {
		t.Errorf("b forwarded %d bytes: the file went another way", n)
	}
	trace, err := a.Trace(w.ctx, api.ConnectSpec{PK: d.PK, Policy: overHops(3)})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range trace {
		if h.PK != all[i+1].PK || h.RTTMicros <= 0 {
			t.Errorf("hop %d: %+v", i+1, h)
		}
	}
	if len(trace) != 3 {
		t.Errorf("%d hops traced", len(trace))
	}

	start = time.Now()
	_, err = a.Connect(w.ctx, api.ConnectSpec{PK: d.PK, Policy: overHops(4)})
	if err == nil || time.Since(start) > 12*time.Second {
		t.Errorf("a route of four hops: %v after %v", err, time.Since(start))
	}
	t.Logf("no route of four hops: %v", err)
}

// TestMiddleKilled: of two ways the one that carries a file loses its middle, and the
// file goes on over the other one.
//
//	a ── b ── d
//	└─── c ───┘
func TestMiddleKilled(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	dep := w.deploy("services")
	all := w.joinAll(dep, "a", "b", "c", "d")
	a, b, c, d := all[0], all[1], all[2], all[3]
	a.meet(api.SUDPH, b, c)
	d.meet(api.SUDPH, b, c)
	s := d.serve()
	d.expose(s, 80, "--allow", a.PK.String())
	x := a.send(a.reach(d, 80, "--min-hops", "2"), endless)
	w.eventually(10*time.Second, "nothing arrives", func() bool { return s.received.Load() > 16<<20 })
	ways := a.up(d, all...)
	if len(ways) == 0 {
		t.Fatal("a has no route to d in use, and yet something arrives")
	}
	victim := b
	if carried(c) > carried(b) {
		victim = c
	}
	victim.kill()
	start, before := time.Now(), s.received.Load()
	w.eventually(30*time.Second, "the file does not go on", func() bool { return s.received.Load() > before+16<<20 })
	took := time.Since(start)
	t.Logf("%s died; 16 MiB more had arrived after %v", victim.ns.Name, took.Round(time.Millisecond))
	if took > healTime {
		t.Errorf("it took %v, want at most %v", took, healTime)
	}
	if err := x.finish(); err != nil {
		t.Error(err)
	}
}

// TestMiddleKilledOfThree: a route of three hops loses a middle, and there is no other one
// that shares no visor with it. The file goes on over one that does.
//
//	a ──┬── b ──┬── e
//	    ├── c ──┤        b, c and d are neighbours of each other
//	    └── d ──┘
func TestMiddleKilledOfThree(t *testing.T) {
	w := newWorld(t, 2*time.Minute, false)
	dep := w.deploy("services")
	all := w.joinAll(dep, "a", "b", "c", "d", "e")
	a, b, c, d, e := all[0], all[1], all[2], all[3], all[4]
	a.meet(api.SUDPH, b, c, d)
	e.meet(api.SUDPH, b, c, d)
	b.meet(api.STCPR, c, d)
	c.meet(api.STCPR, d)
	s := e.serve()
	e.expose(s, 80, "--allow", a.PK.String())
	x := a.send(a.reach(e, 80, "--min-hops", "3"), endless)
	w.eventually(10*time.Second, "nothing arrives", func() bool { return s.received.Load() > 16<<20 })
	ways := a.up(e, all...)
	victim := all[slices.IndexFunc(all, func(n *node) bool { return n.ns.Name == strings.Fields(ways[0])[1] })]
	t.Logf("routes in use: %q", ways)
	victim.kill()
	start, before := time.Now(), s.received.Load()
	w.eventually(30*time.Second, "the file does not go on", func() bool { return s.received.Load() > before+16<<20 })
	took := time.Since(start)
	t.Logf("%s died; 16 MiB more had arrived after %v over %q", victim.ns.Name, took.Round(time.Millisecond), a.up(e, all...))
	if took > healTime {
		t.Errorf("it took %v, want at most %v", took, healTime)
	}
	if err := x.finish(); err != nil {
		t.Error(err)
	}
}

// TestFrozenMiddle: a visor on the shortest way is as good as dead, and neither the
// transport discovery nor its neighbours know that yet. Who sets a route up is told, and
// takes the longer way.
//
//	a ── b ── d
//	└ c ── e ─┘
func TestFrozenMiddle(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	dep := w.deploy("services")
	all := w.joinAll(dep, "a", "b", "c", "d", "e")
	a, b, c, d, e := all[0], all[1], all[2], all[3], all[4]
	a.meet(api.SUDPH, b, c)
	d.meet(api.SUDPH, b, e)
	c.meet(api.SUDPH, e)
	if err := b.freeze(); err != nil {
		t.Fatal(err)
	}
	defer b.thaw()
	start := time.Now()
	paths := a.mustConnect(d, api.RoutePolicy{MinHops: 2})
	took := time.Since(start)
	t.Logf("a route around b after %v", took.Round(time.Millisecond))
	if took > 11*time.Second {
		t.Errorf("it took %v, want at most 10 s", took)
	}
	if !slices.ContainsFunc(paths, func(p api.Path) bool { return hops(p, all...) == "c e d" }) {
		t.Errorf("paths %+v, want c e d", paths)
	}
	start = time.Now()
	a.Disconnect(w.ctx, d.PK)
	again := a.mustConnect(d, api.RoutePolicy{MinHops: 2})
	t.Logf("the second time after %v", time.Since(start).Round(time.Millisecond))
	if strings.HasPrefix(hops(again[0], all...), "b") {
		t.Error("a tries b first although it has just failed")
	}
}
