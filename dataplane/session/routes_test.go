package session

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/noise"
)

// TestRouteIDs: an id is never 0, and none comes twice as long as the keys are the
// same, whether or not its route still exists.
func TestRouteIDs(t *testing.T) {
	dice := []uint32{0, 5, 5, 0, 7, 7, 5, 9}
	random := func() (v uint32) {
		v, dice = dice[0], dice[1:]
		return v
	}
	used := routeIDs{}
	got := []uint32{used.draw(random), used.draw(random), used.draw(random)}
	if want := []uint32{5, 7, 9}; !slices.Equal(got, want) {
		t.Errorf("ids %d, want %d", got, want)
	}
}

// newKeys returns keys that nobody else has.
func newKeys(phase uint32, first *route) *epoch {
	var k noise.Keys
	k.Send[0], k.Recv[0] = byte(phase), byte(phase)
	return noise.NewEpoch(k, phase, phase, epochState{first: first})
}

// TestRouteIDsAreForgotten: with new keys only the ids of present routes are in use.
func TestRouteIDsAreForgotten(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	s, err := newSession(n.m, end{peer: testKey()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	here := &route{s: s, id: 5, egress: new(forward.Egress)}
	s.ids, s.routes = routeIDs{5: true, 6: true}, []*route{here}
	coming := &route{s: s, id: s.routeID(), egress: new(forward.Egress)}
	keys := newKeys(1, here)
	s.ring.InstallInitiator(keys, ns(n.links.Now()))
	s.adopt(keys)
	if !s.ids[5] || s.ids[6] {
		t.Errorf("ids in use: %v, want 5 alone", s.ids)
	}
	s.add(coming)
	if !s.ids[coming.id] {
		t.Errorf("ids in use: %v, want also that of a route added meanwhile, %d", s.ids, coming.id)
	}
}

// TestRouteAddedDuringRekey: a route that was added while the keys changed stayed with
// the old ones for a minute.
func TestRouteAddedDuringRekey(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	s, err := newSession(n.m, end{peer: testKey()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	first := &route{s: s, id: 1, egress: new(forward.Egress)}
	old, fresh := newKeys(1, first), newKeys(2, first)
	now := ns(n.links.Now())
	s.ring.InstallInitiator(old, now)
	r := &route{s: s, id: 2, egress: new(forward.Egress)}
	s.mu.Lock()
	added := make(chan struct{})
	go func() { s.add(r); close(added) }()
	eventually(t, "add waits for the lock", func() bool {
		stacks := make([]byte, 1<<20)
		for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "(*Session).add(") && strings.Contains(g, "[sync.Mutex.Lock") {
				return true
			}
		}
		return false
	})
	s.ring.InstallInitiator(fresh, now)
	s.mu.Unlock()
	<-added
	if r.next == nil || r.next.epoch != fresh {
		t.Error("the route does not have the newest keys")
	}
	s.adopt(old) // late
	if r.next.epoch != fresh {
		t.Error("old keys came back")
	}
}

// TestReplacedSessionCarriesOn: the end of a session was told when the same peer had
// another already, and its streams were reset.
func TestReplacedSessionCarriesOn(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	n.m.cancel() // this test ticks
	n.m.done.Wait()
	spec := RouteSpec{
		Peer: testKey(), Out: forward.Neighbour{Peer: testKey()}, OutLabel: 1, In: forward.Neighbour{Peer: testKey()}, InLabel: 2,
	}
	in, err := n.m.AddRoute(spec)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := n.m.Session(spec.Peer)
	s.up = true
	replace := func() {
		t.Helper()
		if err := n.m.RemoveRoute(in.ID); err != nil {
			t.Fatal(err)
		}
		if in, err = n.m.AddRoute(spec); err != nil {
			t.Fatal(err)
		}
	}
	replace()
	replace() // the second one lived between two ticks
	n.m.tick()
	if len(n.up.downs) != 0 {
		t.Fatalf("told of %v", n.up.downs)
	}
	if err := n.m.RemoveRoute(in.ID); err != nil {
		t.Fatal(err)
	}
	n.m.tick()
	if len(n.up.downs) != 1 {
		t.Errorf("told of %v, want one end", n.up.downs)
	}
}

// TestLostSessionIsKept: a neighbour whose connection broke off may come back and find
// its streams, for as long as one that falls silent.
func TestLostSessionIsKept(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	n.m.cancel() // this test ticks
	n.m.done.Wait()
	spec := RouteSpec{
		Peer: testKey(), Out: forward.Neighbour{Peer: testKey()}, OutLabel: 1, In: forward.Neighbour{Peer: testKey()}, InLabel: 2,
	}
	lose := func(up bool) *Session {
		t.Helper()
		in, err := n.m.AddRoute(spec)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := n.m.Session(spec.Peer)
		s.up = s.up || up
		n.m.tick() // inherits
		n.m.routes[in.ID].lost = true
		if err := n.m.RemoveRoute(in.ID); err != nil {
			t.Fatal(err)
		}
		n.m.tick()
		return s
	}
	lose(true)
	s := lose(false)
	if len(n.up.downs) != 0 || len(n.m.ended) != 1 {
		t.Fatalf("told of %v, %d kept; want one kept, as it may return", n.up.downs, len(n.m.ended))
	}
	s.heard = ns(n.links.Now()) - deadAfter - 1
	n.m.tick()
	if len(n.up.downs) != 1 || len(n.m.ended) != 0 {
		t.Errorf("told of %v, %d kept; want one end", n.up.downs, len(n.m.ended))
	}
}

func testKey() cipher.PubKey {
	pk, _ := cipher.GenerateKeyPair()
	return pk
}
