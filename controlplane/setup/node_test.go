package setup

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestNodeRefuses gives a setup node requests that it must not act on; no visor hears of
// any.
func TestNodeRefuses(t *testing.T) {
	other, _ := cipher.GenerateKeyPair()
	tests := []struct {
		name string
		edit func(*statement, *routeRequest)
		// after changes the request when it has been signed.
		after  func(*routeRequest)
		caller cipher.PubKey // zero: the source
		want   Code
	}{
		{name: "another caller than the source", caller: other, want: CodeForbidden},
		{name: "in the name of another source", edit: func(s *statement, _ *routeRequest) { s.Source = other }, want: CodeForbidden},
		{name: "for another node", edit: func(s *statement, _ *routeRequest) { s.Node = other }, want: CodeForbidden},
		{name: "forged", after: func(in *routeRequest) { in.Signature[3] ^= 1 }, want: CodeSignature},
		{name: "changed after it was signed", after: func(in *routeRequest) { in.Signed = append(in.Signed, ' ') }, want: CodeSignature},
		{name: "another path than the signed one", after: func(in *routeRequest) { in.Path[0].PK = other }, want: CodeSignature},
		{name: "another link type", after: func(in *routeRequest) { in.Path[0].Type = 1 }, want: CodeSignature},
		{name: "another salt", after: func(in *routeRequest) { in.Salt[0] ^= 1 }, want: CodeSignature},
		{name: "a day old", edit: func(s *statement, _ *routeRequest) { s.Time -= 86400_000 }, want: CodeClock},
		{name: "from tomorrow", edit: func(s *statement, _ *routeRequest) { s.Time += 86400_000 }, want: CodeClock},
		{name: "not to the destination", edit: func(s *statement, _ *routeRequest) { s.Destination = other }, want: CodeBadRequest},
		{name: "no path", edit: func(s *statement, in *routeRequest) {
			in.Path = nil
			s.Path = hashPath(nil, in.Salt)
		}, want: CodeBadRequest},
		{name: "seventeen hops", edit: func(s *statement, in *routeRequest) {
			for len(in.Path) < 17 {
				in.Path = append(in.Path[:1], in.Path...)
			}
			s.Path = hashPath(in.Path, in.Salt)
		}, want: CodeBadRequest},
		{name: "a key twice", edit: func(s *statement, in *routeRequest) {
			in.Path = append(in.Path[:1], in.Path...)
			s.Path = hashPath(in.Path, in.Salt)
		}, want: CodeBadRequest},
		{name: "through its source", edit: func(s *statement, in *routeRequest) {
			in.Path[0].PK = s.Source
			s.Path = hashPath(in.Path, in.Salt)
		}, want: CodeBadRequest},
		{name: "through what is no key", edit: func(s *statement, in *routeRequest) {
			in.Path[0].PK = cipher.PubKey{5}
			s.Path = hashPath(in.Path, in.Salt)
		}, want: CodeBadRequest},
		{name: "class of 33 bits", edit: func(s *statement, _ *routeRequest) { s.Class = 1 << 32 }, want: CodeBadRequest},
		{name: "no time to live", edit: func(s *statement, _ *routeRequest) { s.TTL = 0 }, want: CodeBadRequest},
		{name: "no label", edit: func(_ *statement, in *routeRequest) { in.InLabel = 0 }, want: CodeBadRequest},
		{name: "a statement that is none", after: func(in *routeRequest) { in.Signed = []byte(`{"source":1}`) }, want: CodeBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newFakeWorld(t, 4, 1)
			in := w.signed(tt.edit)
			if tt.after != nil {
				tt.after(in)
			}
			caller := tt.caller
			if caller.IsZero() {
				caller = w.visors[0].pk
			}
			bad := w.ask(caller, in)
			if bad == nil || bad.Code != tt.want {
				t.Errorf("got %v, want code %s", bad, tt.want)
			}
			if tt.want == CodeClock && (bad == nil || time.Since(bad.Time).Abs() > time.Minute) {
				t.Error("the refusal does not tell the node's time")
			}
			if n := len(w.took); n != 1 {
				t.Errorf("visors have heard of it: %v", w.took)
			}
		})
	}
}

// TestNodeReplay: the same request a second time is refused, for as long as it is fresh.
func TestNodeReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t, 3, 1)
		in := w.signed(nil)
		src := w.visors[0].pk
		if bad := w.ask(src, in); bad != nil {
			t.Fatal(bad)
		}
		for _, wait := range []time.Duration{0, 30 * time.Second, 29 * time.Second} {
			time.Sleep(wait)
			if bad := w.ask(src, in); bad == nil || bad.Code != CodeReplay {
				t.Errorf("replayed: %v", bad)
			}
		}
		time.Sleep(10 * time.Second)
		if bad := w.ask(src, in); bad == nil || bad.Code != CodeClock {
			t.Errorf("replayed when it is old: %v", bad)
		}
	})
}

// TestNodeQuota: a source that asks for too many routes is told so; others are not
// concerned, and it may again later.
func TestNodeQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t, 3, 1)
		w.nodes[0].quota.limits = NodeLimits{Rate: 1, Burst: 3, Concurrent: 3, Sources: 10}
		src := w.visors[0].pk
		for i := range 4 {
			bad := w.ask(src, w.signed(nil))
			if (bad != nil) != (i == 3) || bad != nil && bad.Code != CodeQuota {
				t.Errorf("request %d: %v", i, bad)
			}
		}
		w.visors[0], w.visors[1] = w.visors[1], w.visors[0]
		if bad := w.ask(w.visors[0].pk, w.signed(nil)); bad != nil {
			t.Errorf("another source: %v", bad)
		}
		w.visors[0], w.visors[1] = w.visors[1], w.visors[0]
		time.Sleep(time.Second)
		if bad := w.ask(src, w.signed(nil)); bad != nil {
			t.Errorf("a second later: %v", bad)
		}
	})
}

func TestQuotaBounds(t *testing.T) {
	now := time.Now()
	q := newQuota(NodeLimits{Rate: 1, Burst: 1, Concurrent: 2, Sources: 2})
	keys := make([]cipher.PubKey, 3)
	for i := range keys {
		keys[i][0] = byte(i)
	}
	for i, pk := range keys {
		if got := q.start(pk, now); got != (i < 2) {
			t.Errorf("source %d may: %v", i, got)
		}
	}
	q.done(keys[0])
	if !q.start(keys[2], now.Add(2*time.Second)) {
		t.Error("the place of a source that has its whole allowance again is not given away")
	}
	if q.start(keys[0], now.Add(2*time.Second)) {
		t.Error("more sources than are remembered")
	}
}

// TestWarm: a visor that says that it is there is called back, so many in a while.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t, 2, 2)
		w.visors[0].client.Warm(t.Context())
		synctest.Wait()
		if n := w.count(pathHealth); n != 2 {
			t.Errorf("called back %d times by two nodes", n)
		}
		w.nodes[0].warmCount = warmed - 1
		for range 3 {
			w.visors[0].client.Warm(t.Context())
			synctest.Wait()
		}
		if n := w.count(pathHealth); n != 2+3+1 {
			t.Errorf("called back %d times, want 6: one node has done enough", n)
		}
		time.Sleep(warmPeriod)
		w.visors[0].client.Warm(t.Context())
		synctest.Wait()
		if n := w.count(pathHealth); n != 8 {
			t.Errorf("called back %d times, want 8", n)
		}
	})
}

// TestHopNeverAnswers: a visor that says nothing costs two seconds, in either round, and
// what the others have made is taken back.
func TestHopNeverAnswers(t *testing.T) {
	for _, path := range []string{pathReserve, pathInstall, pathAccept} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t, 4, 1)
				at := 2
				if path == pathAccept {
					at = 3
				}
				w.hung[place(w.visors[at].pk, HopPort, path)] = true
				began := time.Now()
				bad := w.ask(w.visors[0].pk, w.signed(nil))
				if bad == nil || bad.Code != CodeUnreachable || bad.At != w.visors[at].pk {
					t.Errorf("got %v, want unreachable at visor %d", bad, at)
				}
				if took := time.Since(began); took != roundTimeout {
					t.Errorf("it took %v, want %v", took, roundTimeout)
				}
				w.nodes[0].background.Wait()
				if n := w.left(); n != 0 {
					t.Errorf("%d rules and routes are left", n)
				}
			})
		})
	}
}

// TestSourceGoesAway: nothing is left of a route that nobody waits for any more.
func TestSourceGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t, 4, 1)
		w.hung[place(w.visors[2].pk, HopPort, pathInstall)] = true
		ctx, cancel := contextAfter(t, time.Second)
		defer cancel()
		if _, err := w.visors[0].client.Establish(ctx, Request{Path: w.path()}); err == nil {
			t.Error("established")
		}
		synctest.Wait()
		w.nodes[0].background.Wait()
		if n := w.left(); n != 0 {
			t.Errorf("%d rules and routes are left", n)
		}
	})
}

// TestOneHop makes the shortest route there is, and one that turns.
func TestOneHop(t *testing.T) {
	w := newFakeWorld(t, 2, 1)
	route, err := w.visors[0].client.Establish(t.Context(), Request{Path: w.path(), Class: 9, Mux: true})
	if err != nil {
		t.Fatal(err)
	}
	spec := w.visors[1].sessions.routes[1]
	if spec.Peer != w.visors[0].pk || spec.Class != 9 || spec.OutLabel != route.InLabel || spec.InLabel != route.OutLabel || !spec.Answer || spec.TTL != DefaultTTL {
		t.Errorf("the destination's end is %+v, the source's %+v", spec, route)
	}
	if !w.visors[1].sessions.mux {
		t.Error("the destination does not spread")
	}
	back, err := w.visors[0].client.Establish(t.Context(), Request{Path: w.path(), Turn: true, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	rules := w.visors[1].table.Rules()
	if len(rules) != 1 || rules[0].In != rules[0].Out || rules[0].OutLabel != back.InLabel || rules[0].TTL != MaxTTL {
		t.Errorf("rules %+v for the route %+v", rules, back)
	}
}
