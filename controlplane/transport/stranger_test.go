package transport

import (
	"net/netip"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// Strangers, however many keys they have, leave places to visors that are known here; and
// no visor has them all.
func TestHall(t *testing.T) {
	h := hall{guests: map[cipher.PubKey]int{}}
	key := func(n int) (pk cipher.PubKey) { pk[0], pk[1] = byte(n), byte(n>>8); return pk }
	var leave []func()
	enter := func(n int, familiar bool) bool {
		l, ok := h.enter(key(n), familiar)
		if ok {
			leave = append(leave, l)
		}
		return ok
	}
	got := 0
	for range 2 * maxOffers {
		if enter(0, false) {
			got++
		}
	}
	if got != maxOffers {
		t.Errorf("one visor has %d places, want %d", got, maxOffers)
	}
	for n := range 200 {
		if enter(n+1, false) {
			got++
		}
	}
	if got != maxAnswers {
		t.Errorf("strangers have %d places, want %d", got, maxAnswers)
	}
	got = 0
	for n := range 200 {
		if enter(n+1000, true) {
			got++
		}
	}
	if got != maxFamiliar {
		t.Errorf("others have %d places, want %d", got, maxFamiliar)
	}
	for _, l := range leave {
		l()
	}
	if h.places != [2]int{} || len(h.guests) != 0 || !enter(7, false) {
		t.Errorf("left behind: %+v", &h)
	}
}

// An expectant plane notes who may come in whatever the policy says.
type expectantPlane struct {
	*fakePlane
	expected map[cipher.PubKey]bool
}

func (p *expectantPlane) expect(pk cipher.PubKey, yes bool) { p.expected[pk] = yes }
func (p *expectantPlane) udp() netip.AddrPort               { return netip.MustParseAddrPort("192.0.2.1:7777") }

// Offers of strangers leave nothing in the engine; one of whom a user wants a transport
// to is let in.
func TestOffersOfStrangers(t *testing.T) {
	friend, _ := cipher.GenerateKeyPair()
	inBubble(t, Settings{Persistent: []Wanted{{PK: friend}}}, func(t *testing.T, b *bubble, _ *services) {
		p := &expectantPlane{b.plane, map[cipher.PubKey]bool{}}
		b.Manager.plane = p
		offer := func(pk cipher.PubKey) {
			a, code, text := b.answer(pk)
			if code != "" {
				t.Fatal(code, text)
			}
			a.agent.Close()
			b.leave(a.punch)
		}
		for range 5 {
			pk, _ := cipher.GenerateKeyPair()
			offer(pk)
		}
		offer(friend)
		if len(p.expected) != 1 || !p.expected[friend] {
			t.Errorf("%d keys are expected, the friend: %v; want it alone", len(p.expected), p.expected[friend])
		}
	})
}

// Visors that have links, and make one offer after the other, do not have all links
// checked all the time.
func TestOffersCheckSeldom(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, _ *services) {
		b.Manager.plane = &expectantPlane{b.plane, map[cipher.PubKey]bool{}}
		for range 10 {
			pk, _ := cipher.GenerateKeyPair()
			b.linkChanged(key{pk, link.SUDPH}, false, true, nil)
			a, code, text := b.answer(pk)
			if code != "" {
				t.Fatal(code, text)
			}
			a.agent.Close()
			b.leave(a.punch)
		}
		if n := b.plane.checks(); n != 1 {
			t.Errorf("links were checked %d times, want once", n)
		}
		time.Sleep(offerChecks)
		pk, _ := cipher.GenerateKeyPair()
		b.linkChanged(key{pk, link.SUDPH}, false, true, nil)
		a, _, _ := b.answer(pk)
		a.agent.Close()
		b.leave(a.punch)
		if n := b.plane.checks(); n != 2 {
			t.Errorf("links were checked %d times after a while, want twice", n)
		}
	})
}
