package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestHurriesFirstHop: who dialled over a link that was down waited for the link's next
// attempt, up to 30 s away. Datagrams, which are not dialled, did so for ever.
func TestHurriesFirstHop(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	var (
		mu     sync.Mutex
		called []forward.Neighbour
	)
	n.m.hurryLink = func(pk cipher.PubKey, typ link.Type) {
		mu.Lock()
		defer mu.Unlock()
		called = append(called, forward.Neighbour{Peer: pk, Type: typ})
	}
	pk, _ := cipher.GenerateKeyPair()
	first, _ := cipher.GenerateKeyPair()
	hop := forward.Neighbour{Peer: first, Type: link.SUDPH}
	if _, err := n.m.AddRoute(RouteSpec{Peer: pk, Out: hop, OutLabel: 1, In: hop, InLabel: 2}); err != nil {
		t.Fatal(err)
	}
	want := []forward.Neighbour{hop}
	expect := func(when string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(called, want) {
			t.Errorf("%s: hurried %v, want %v", when, called, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.m.Dial(ctx, pk); !errors.Is(err, ErrRouteDown) {
		t.Fatalf("dial: %v, want ErrRouteDown", err)
	}
	expect("dial")
	s, _ := n.m.Session(pk)
	s.hurried.Store(n.links.Now() - int64(hurryEvery))
	for range 100 { // once a second
		if err := s.SendPacket(packet.ProtoUDP, make([]byte, 4), nil); !errors.Is(err, ErrNoRoute) {
			t.Fatalf("send: %v, want ErrNoRoute", err)
		}
	}
	want = append(want, hop)
	expect("send")
}
