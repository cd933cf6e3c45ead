package forward

import (
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
)

type chanOrigin chan routeError

func (o chanOrigin) RouteError(code uint8, mtu int) { o <- routeError{code: code, mtu: mtu} }

// TestRouteErrorDoesNotWait: a packet worker waited for the engine's lock, which a
// listing of all rules holds for long, for each route error that a neighbour sent.
func TestRouteErrorDoesNotWait(t *testing.T) {
	e := newTestEngine(t, open)
	b := testKey(t)
	out := e.join(t, b, link.SUDPH)
	origin := make(chanOrigin, 2*maxHints)
	if _, err := e.AddEgress(Neighbour{Peer: b}, 71, origin); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 * maxHints {
			e.RouteError(out.id, CodeLinkDown, 9, 71)
		}
	}()
	select {
	case <-done:
		e.mu.Unlock()
	case <-time.After(10 * time.Second):
		e.mu.Unlock()
		t.Fatal("it waits for the lock")
	}
	dropped := int(e.Drops()["route_error"])
	if dropped < maxHints-1 || dropped > maxHints { // the engine may have one in hand
		t.Errorf("%d of %d were dropped, want all but %d", dropped, 2*maxHints, maxHints)
	}
	for range 2*maxHints - dropped {
		if got, want := <-origin, (routeError{code: CodeLinkDown, mtu: 9}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}
