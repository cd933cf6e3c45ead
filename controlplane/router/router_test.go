package router

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/setup/setuptest"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// twoWays is two disjoint paths of three hops from 0 to 5.
//
//	  ┌─ 1 ── 2 ─┐
//	0 ┤          ├ 5
//	  └─ 3 ── 4 ─┘
var twoWays = [][2]int{{0, 1}, {1, 2}, {2, 5}, {0, 3}, {3, 4}, {4, 5}}

// TestEnsure has a route of three hops made, and a second one that is disjoint.
func TestEnsure(t *testing.T) {
	w := newWorld(t, 6, twoWays)
	class := w.ensure(5, Policy{MinHops: 3})
	if class == 0 {
		t.Error("class is 0, which a direct link belongs to")
	}
	if s, ok := w.Visors[0].Sessions.SessionClass(w.pk(5), class); !ok || !s.Up() {
		t.Error("no session is up in the class")
	}
	if again := w.ensure(5, Policy{MinHops: 3}); again != class {
		t.Errorf("the same policy has class %d, then %d", class, again)
	}
	setuptest.Eventually(t, "a disjoint route stands by", func() bool {
		return len(w.paths(5)) == 2
	})
	for _, want := range [][]int{{1, 2}, {3, 4}} {
		if !slices.ContainsFunc(w.paths(5), func(p []int) bool { return slices.Equal(p, want) }) {
			t.Errorf("routes are over %v, none over %v", w.paths(5), want)
		}
	}
	if other := w.ensure(5, Policy{MinHops: 2, MaxHops: 3}); other == class || other == 0 {
		t.Errorf("another policy has class %d as well", other)
	}
	if n := w.Remove(w.pk(5), class); n != 2 {
		t.Errorf("%d routes removed, want 2", n)
	}
	if _, ok := w.Visors[0].Sessions.SessionClass(w.pk(5), class); ok {
		t.Error("the session outlives its routes")
	}
}

// TestLyingDiscovery: links that do not exist are found out and routed around within
// one call.
func TestLyingDiscovery(t *testing.T) {
	w := newWorld(t, 6, twoWays)
	lies := [][2]int{{1, 5}, {1, 4}, {2, 3}, {0, 5}, {0, 2}}
	for _, lie := range lies {
		w.list(lie[0], lie[1], 1)
	}
	w.ensure(5, Policy{MinHops: 2})
	got := w.paths(5)[0]
	if !slices.Equal(got, []int{1, 2}) && !slices.Equal(got, []int{3, 4}) {
		t.Errorf("the route is over %v", got)
	}
	learnt := 0
	for _, lie := range lies {
		if w.penalties.of(linkBetween(w.pk(lie[0]), w.pk(lie[1]))) >= notable {
			learnt++
		}
	}
	if learnt == 0 {
		t.Error("nothing is remembered of the lies")
	}
}

// TestFailover kills the visor in the middle of the route in use: the session stays up,
// and a new route takes the place of the dead one.
func TestFailover(t *testing.T) {
	w := newWorld(t, 5, [][2]int{{0, 1}, {1, 4}, {0, 2}, {2, 4}, {0, 3}, {3, 4}})
	class := w.ensure(4, Policy{MinHops: 2})
	setuptest.Eventually(t, "a second route", func() bool { return len(w.paths(4)) == 2 })
	first := w.paths(4)[0][0]
	w.Visors[first].Kill()
	setuptest.Eventually(t, "the dead route is gone and there are two others", func() bool {
		up := 0
		for _, r := range w.Routes() {
			if r.State == session.StateUp && w.pk(first) != r.Path[0].To {
				up++
			}
		}
		return up == 2 && len(w.paths(4)) == 2
	})
	if s, ok := w.Visors[0].Sessions.SessionClass(w.pk(4), class); !ok || !s.Up() {
		t.Error("the session did not survive")
	}
}

// TestFinderDown: while no path finder answers, routes go on and are replaced by what
// was known.
func TestFinderDown(t *testing.T) {
	w := newWorld(t, 5, [][2]int{{0, 1}, {1, 4}, {0, 2}, {2, 4}, {0, 3}, {3, 4}})
	w.ensure(4, Policy{MinHops: 2})
	setuptest.Eventually(t, "a second route", func() bool { return len(w.paths(4)) == 2 })
	w.finder.fail(errors.New("no answer"))
	first := w.paths(4)[0][0]
	w.Visors[first].Kill()
	setuptest.Eventually(t, "the dead route is replaced", func() bool {
		p := w.paths(4)
		return len(p) == 2 && p[0][0] != first && p[1][0] != first
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := w.Ensure(ctx, w.pk(3), Policy{MinHops: 2}); !errors.Is(err, ErrNoPath) || !errors.Is(err, w.finder.err) {
		t.Errorf("a peer that was never asked for: %v", err)
	}
}

// early is a transport of requests, the first few of which come too early for whoever is
// to answer them.
type early struct {
	http.RoundTripper
	n      atomic.Int32 // how many are left
	answer func() (*http.Response, error)
}

func (e *early) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v1/route" && e.n.Add(-1) >= 0 {
		return e.answer()
	}
	return e.RoundTripper.RoundTrip(req)
}

// TestBackSoon: who does not answer at first is asked again within one call.
func TestBackSoon(t *testing.T) {
	const times = 2
	for name, prepare := range map[string]func(w *world, e *early){
		"path finder": func(w *world, _ *early) { w.finder.mute = times },
		"setup node": func(_ *world, e *early) {
			e.n.Store(times)
			e.answer = func() (*http.Response, error) { return nil, errors.New("the discovery does not know it") }
		},
		"destination": func(w *world, e *early) {
			e.n.Store(times)
			e.answer = func() (*http.Response, error) {
				rec := httptest.NewRecorder()
				rec.WriteHeader(http.StatusBadGateway)
				fmt.Fprintf(rec, `{"error":"cannot be reached over dmsg","code":"unreachable","at":"%s"}`, w.pk(2))
				return rec.Result(), nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, [][2]int{{0, 1}, {1, 2}})
			a := w.Visors[0]
			e := &early{RoundTripper: a.HTTP}
			prepare(w, e)
			a.Client.SetNodes([]setup.NodeAddr{{PK: w.Node, Transport: e}})
			if _, err := w.Ensure(t.Context(), w.pk(2), Policy{MinHops: 2}); err != nil {
				w.finder.mu.Lock()
				asked := w.finder.asked
				w.finder.mu.Unlock()
				if !tooSlow(err) || asked <= times {
					t.Errorf("asked %d times, then %v", asked, err)
				}
				w.ensure(2, Policy{MinHops: 2})
			}
		})
	}
}

// TestHalfInstalled: where a setup node's route does not come up, another node makes it,
// within one call.
func TestHalfInstalled(t *testing.T) {
	w := newWorld(t, 4, [][2]int{{0, 1}, {1, 2}, {2, 3}})
	evil, _ := cipher.GenerateKeyPair()
	a := w.Visors[0]
	liar := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"out_label":"0badcafe"}`) })
	a.Client.SetNodes([]setup.NodeAddr{
		{PK: evil, Transport: setup.Local(evil, setup.NodePort, liar, a.HTTP)},
		{PK: w.Node, Transport: a.HTTP},
	})
	w.ensure(3, Policy{MinHops: 3})
	if rs := w.Routes(); len(rs) != 1 || rs[0].Node != w.Node {
		t.Errorf("routes %+v, want one by %s", rs, w.Node)
	}
}

// TestBadPeer: where every path ends the same way, the error says so at once.
func TestBadPeer(t *testing.T) {
	w := newWorld(t, 6, twoWays)
	w.Visors[5].Hop.SetNodes(nil)
	var err error
	setuptest.Eventually(t, "an answer", func() bool {
		_, err = w.Ensure(t.Context(), w.pk(5), Policy{MinHops: 2})
		return !tooSlow(err)
	})
	var e *setup.Error
	if !errors.As(err, &e) || e.Code != setup.CodeForbidden || e.At != w.pk(5) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Ensure(t.Context(), w.pk(0), Policy{}); !errors.Is(err, ErrSelf) {
		t.Errorf("oneself: %v", err)
	}
	if _, err := w.Ensure(t.Context(), w.pk(5), Policy{MinHops: 4, MaxHops: 3}); err == nil {
		t.Error("more hops at least than at most")
	}
	// A visor in the middle that does not trust the setup node is gone around.
	w.Visors[5].Hop.SetNodes([]cipher.PubKey{w.Node})
	w.Visors[1].Hop.SetNodes(nil)
	w.ensure(5, Policy{MinHops: 3, MaxHops: 3})
	if p := w.paths(5)[0]; !slices.Equal(p, []int{3, 4}) {
		t.Errorf("over %v", p)
	}
}

// TestMux makes two disjoint routes in one class; when one of them dies, the third path
// there is takes its place.
func TestMux(t *testing.T) {
	w := newWorld(t, 5, [][2]int{{0, 1}, {1, 4}, {0, 2}, {2, 4}, {0, 3}, {3, 4}})
	class := w.ensure(4, Policy{MinHops: 2, Routes: 2})
	two := func(without int) bool {
		p := w.paths(4)
		return len(p) == 2 && p[0][0] != p[1][0] && p[0][0] != without && p[1][0] != without
	}
	setuptest.Eventually(t, "two disjoint routes", func() bool { return two(-1) })
	for _, r := range w.Routes() {
		if r.Standby || r.Class != class {
			t.Errorf("route %+v; want one in use, of class %d", r, class)
		}
	}
	first := w.paths(4)[0][0]
	w.Visors[first].Kill()
	setuptest.Eventually(t, "two routes again", func() bool { return two(first) })
}

// TestPlain: where a direct link will do it is made, else routes are, all in class 0;
// and keys to avoid are avoided by what others use too.
func TestPlain(t *testing.T) {
	w := newWorld(t, 4, [][2]int{{0, 1}, {1, 3}, {0, 2}, {2, 3}})
	if _, err := w.Ensure(t.Context(), w.pk(3), Policy{MaxHops: 1}); !errors.Is(err, errNoWay) {
		t.Errorf("direct only, and that fails: %v", err)
	}
	if class := w.ensure(3, Policy{}); class != 0 {
		t.Errorf("class %d, want 0", class)
	}
	if len(w.paths(3)) == 0 {
		t.Error("no route though there is no link")
	}
	w.ensure(3, Policy{Avoid: []cipher.PubKey{w.pk(1)}})
	setuptest.Eventually(t, "only routes that avoid visor 1", func() bool {
		p := w.paths(3)
		return len(p) == 1 && slices.Equal(p[0], []int{2})
	})
	w.links.open.Store(true)
	w.Remove(w.pk(3), 0)
	if class := w.ensure(3, Policy{}); class != 0 || len(w.paths(3)) != 0 {
		t.Errorf("class %d over %v, want 0 and no routes beside the link", class, w.paths(3))
	}
}

// TestIdle drops a class that nobody uses.
func TestIdle(t *testing.T) {
	w := newWorld(t, 3, [][2]int{{0, 1}, {1, 2}})
	w.ensure(2, Policy{MinHops: 2})
	setuptest.Eventually(t, "the session has looked at its route", func() bool {
		return slices.ContainsFunc(w.Visors[0].Sessions.Routes(), func(in session.RouteInfo) bool {
			return in.Class != 0 && in.State == session.StateUp
		})
	})
	setuptest.Eventually(t, "nothing is being made", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.pools {
			return !p.building
		}
		return false
	})
	w.look(time.Now().Add(idleAfter - time.Second))
	if len(w.Routes()) != 1 {
		t.Fatal("dropped too early")
	}
	w.busy.Store(true)
	w.look(time.Now().Add(2 * idleAfter))
	if len(w.Routes()) != 1 {
		t.Fatal("dropped though streams are open")
	}
	w.busy.Store(false)
	w.look(time.Now().Add(2 * idleAfter))
	if len(w.Routes()) != 0 {
		t.Error("not dropped")
	}
}

// TestTrace measures the hops of a route.
func TestTrace(t *testing.T) {
	w := newWorld(t, 4, [][2]int{{0, 1}, {1, 2}, {2, 3}})
	if _, err := w.Trace(t.Context(), w.pk(3), 0); !errors.Is(err, ErrNoRoute) {
		t.Errorf("trace without a route: %v", err)
	}
	class := w.ensure(3, Policy{MinHops: 3})
	var hops []HopRTT
	setuptest.Eventually(t, "all hops answer", func() (ok bool) {
		var err error
		if hops, err = w.Trace(t.Context(), w.pk(3), class); err != nil || len(hops) != 3 {
			t.Fatalf("got %v, %v", hops, err)
		}
		return !slices.ContainsFunc(hops, func(h HopRTT) bool { return h.Err != nil })
	})
	for i, h := range hops {
		if h.PK != w.pk(i+1) || h.RTT <= 0 || h.Err != nil {
			t.Errorf("hop %d: %+v", i, h)
		}
	}
	setuptest.Eventually(t, "the loops are gone", func() bool {
		for _, v := range w.Visors[1:] {
			for _, r := range v.Forward.Rules() {
				if r.Op == "forward" && r.In.Peer == r.Out.Peer {
					return false
				}
			}
		}
		return true
	})
}

// TestClosedByPeer: a route that the other end closes is replaced.
func TestClosedByPeer(t *testing.T) {
	w := newWorld(t, 3, [][2]int{{0, 1}, {1, 2}})
	class := w.ensure(2, Policy{MinHops: 2})
	first := w.Routes()[0].ID
	d := w.Visors[2]
	for _, r := range d.Sessions.Routes() {
		if r.Class == class {
			if err := d.Sessions.RemoveRoute(r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	setuptest.Eventually(t, "there is another route", func() bool {
		rs := w.Routes()
		return len(rs) == 1 && rs[0].ID != first && rs[0].State == session.StateUp
	})
}

// TestBlame: who is on the path of a route that dies pays for it, once; a route that is
// closed is nobody's fault.
func TestBlame(t *testing.T) {
	r := &Router{penalties: newPenalties(), byRoute: map[uint64]*kept{}}
	p := &pool{}
	k := func(over int) *kept {
		n := &kept{p: p, hops: hopsOver(0, over, 9), state: session.StateUp}
		p.routes = append(p.routes, n)
		return n
	}
	r.noteLocked(k(1), session.StateUp, true, true)
	r.noteLocked(k(2), session.StateWaiting, true, false)
	dies := k(3)
	r.noteLocked(dies, session.StateDead, false, false)
	r.noteLocked(dies, session.StateDead, true, false)
	for i, want := range []float64{0, 0, penaltyDead, penaltyDead} {
		if got := math.Round(r.penalties.of(visor(keyOf(i)))); got != want {
			t.Errorf("visor %d has a penalty of %v, want %v", i, got, want)
		}
	}
	if len(p.routes) != 0 {
		t.Errorf("%d routes are left", len(p.routes))
	}
}

// BenchmarkEnsure is the time until streams can be dialled over three hops of which
// nothing is there yet.
func BenchmarkEnsure(b *testing.B) {
	w := newWorld(b, 4, [][2]int{{0, 1}, {1, 2}, {2, 3}})
	for b.Loop() {
		class := w.ensure(3, Policy{MinHops: 3})
		w.Remove(w.pk(3), class)
	}
}
