package transport

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
)

func TestRegister(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		pk, sk := b.neighbour(sv, "10.0.0.1:1")
		must(t, b.Ensure(t.Context(), pk))
		id := b.sign(t, pk, sk)
		if !sv.isListed(id, b.pk) || !b.find(pk).Registered {
			t.Fatalf("not registered: %+v", b.List())
		}
		// Heartbeats, about one a minute.
		time.Sleep(10 * time.Minute)
		if n := sv.beatsOf(b.pk); n < 8 || n > 15 {
			t.Errorf("%d heartbeats in ten minutes", n)
		}
		// An outage of 120 s that loses everything: it comes back by itself.
		sv.fail(errors.New("down"))
		time.Sleep(2 * time.Minute)
		sv.forget()
		if i := b.find(pk); i.State != StateUp {
			t.Errorf("during the outage: %+v", i)
		}
		if b.Members()[0].TPDError == "" {
			t.Error("the outage is not said")
		}
		sv.fail(nil)
		time.Sleep(beatEvery + serviceMost)
		if !sv.isListed(id, b.pk) || b.Members()[0].TPDError != "" {
			t.Errorf("after the outage: %+v, %+v", b.List(), b.Members())
		}
		// A link that is down for a moment stays; one that is down for longer goes.
		b.plane.lose(pk, link.STCPR)
		time.Sleep(downGrace - time.Second)
		if !sv.isListed(id, b.pk) {
			t.Error("taken out at once")
		}
		time.Sleep(2 * time.Second)
		if sv.isListed(id, b.pk) {
			t.Error("a dead transport is still listed")
		}
	})
}

func (b *bubble) find(pk [33]byte) Info {
	for _, i := range b.List() {
		if i.PK == pk {
			return i
		}
	}
	return Info{}
}

// The same key on two machines: nothing is registered any more, and why is said; once the
// other one has gone, it goes on.
func TestQuarantine(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		pk, sk := b.neighbour(sv, "10.0.0.1:1")
		must(t, b.Ensure(t.Context(), pk))
		id := b.sign(t, pk, sk)
		sv.mu.Lock()
		sv.duplicates[b.pk] = true
		sv.mu.Unlock()
		time.Sleep(2 * beatEvery)
		if why := b.Members()[0].Quarantined; !strings.Contains(why, "another") {
			t.Errorf("quarantined: %q", why)
		}
		if i := b.find(pk); i.Registered || i.Why == "" || b.Members()[0].Transports != 0 {
			t.Errorf("%+v", i)
		}
		time.Sleep(5 * time.Minute)
		sv.mu.Lock()
		sv.duplicates[b.pk] = false
		sv.mu.Unlock()
		time.Sleep(quarantine + time.Second)
		if why := b.Members()[0].Quarantined; why != "" || !sv.isListed(id, b.pk) {
			t.Errorf("still quarantined: %q", why)
		}
	})
}

// What one deployment knows is never told in another.
func TestDeploymentsApart(t *testing.T) {
	n, one, two := newTestNetwork(t), newServices(), newServices()
	id1, id2 := deploymentKey(), deploymentKey()
	a := n.start(options{}, in(id1, one), in(id2, two))
	b := n.start(options{}, in(id1, one))
	a.ensure(b.pk)
	eventually(t, "registered in the common one", func() bool { return len(one.listed()) > 0 })
	two.mu.Lock()
	defer two.mu.Unlock()
	if len(two.entries) != 0 {
		t.Errorf("registered in the other one: %v", two.entries)
	}
	if memberTag(id1, a.pk, b.pk) != memberTag(id1, b.pk, a.pk) || memberTag(id1, a.pk, b.pk) == memberTag(id2, a.pk, b.pk) {
		t.Error("tags")
	}
}

// At the end everything is taken out, and that takes two seconds at the most.
func TestFarewell(t *testing.T) {
	inBubble(t, Settings{Public: true}, func(t *testing.T, b *bubble, sv *services) {
		pk, sk := b.neighbour(sv, "10.0.0.1:1")
		must(t, b.Ensure(t.Context(), pk))
		id := b.sign(t, pk, sk)
		if !sv.isPublic(b.pk) || !b.Members()[0].Listed {
			t.Error("not listed as public")
		}
		began := time.Now()
		b.end()
		synctest.Wait()
		if took := time.Since(began); took > farewell {
			t.Errorf("took %v", took)
		}
		if sv.isListed(id, b.pk) || sv.isPublic(b.pk) || sv.isBound(b.pk) {
			t.Error("something stays")
		}
	})
}

func TestUnreachableIsNotPublic(t *testing.T) {
	inBubble(t, Settings{Public: true}, func(t *testing.T, b *bubble, sv *services) {
		sv.mu.Lock()
		sv.unreached = true
		sv.mu.Unlock()
		time.Sleep(2 * bindEvery)
		if sv.isPublic(b.pk) || b.Members()[0].Listed {
			t.Error("listed, but nobody can connect")
		}
	})
}
