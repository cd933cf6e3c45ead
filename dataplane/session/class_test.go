package session

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestClassesAreSessionsOfTheirOwn: a multi-hop class to a neighbour that has a link
// uses its own routes and keys, and says which class it is.
func TestClassesAreSessionsOfTheirOwn(t *testing.T) {
	const class = 3
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	connect(t, a, c)
	joinClass(t, class, 100, a, b, c)
	plain := a.dial(c)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := a.m.DialClass(ctx, c.pk, class)
	if err != nil {
		t.Fatal(err)
	}
	if s == plain || s.Class() != class || plain.Class() != 0 || s.PubKey() != c.pk {
		t.Fatalf("class %d and class %d are the same session: %v", s.Class(), plain.Class(), s == plain)
	}
	if got, ok := a.m.Lookup(c.pk.ClassAddr(class).As16()); !ok || got != s {
		t.Errorf("Lookup of the class's address = %v, %v", got, ok)
	}
	data := bytes.Repeat([]byte("through b "), 3000)
	if err := s.SendTCP(tcpHeader(0, tcpPSH), [][]byte{data}); err != nil {
		t.Fatal(err)
	}
	c.up.until(t, "the segment", func() bool { return bytes.Equal(c.up.stream(), data) })
	for _, r := range a.m.Routes() {
		if r.Peer == c.pk && (r.Direct && (r.Class != 0 || r.TxPackets != 0) || !r.Direct && (r.Class != class || r.TxPackets == 0)) {
			t.Errorf("route %+v: direct ones are of class 0 and were not to be used", r)
		}
	}
	if _, err := a.m.DialClass(ctx, c.pk, class+1); !errors.Is(err, ErrNoRoute) {
		t.Errorf("DialClass of a class without routes: %v", err)
	}
	if got := a.m.TroubleClass(c.pk, class); got != "" {
		t.Errorf("TroubleClass = %q", got)
	}
	if got := a.m.TroubleClass(c.pk, class+1); got != "there is no route" {
		t.Errorf("TroubleClass without routes = %q", got)
	}
}

// TestClassIsInTheKeys: ends that do not agree on a route's class do not agree on keys.
func TestClassIsInTheKeys(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	hop := forward.Neighbour{Peer: b.pk}
	for _, end := range []struct {
		n     *node
		peer  *node
		class uint32
		out   packet.Label
		in    packet.Label
	}{{a, c, 1, 211, 202}, {c, a, 2, 212, 221}} {
		if _, err := end.n.m.AddRoute(RouteSpec{
			Peer: end.peer.pk, Out: hop, OutLabel: end.out, In: hop, InLabel: end.in, Class: end.class,
		}); err != nil {
			t.Fatal(err)
		}
	}
	na, nc := forward.Neighbour{Peer: a.pk}, forward.Neighbour{Peer: c.pk}
	for _, s := range []forward.RuleSpec{
		{In: na, InLabel: 211, Out: nc, OutLabel: 221},
		{In: nc, InLabel: 212, Out: na, OutLabel: 202},
	} {
		if _, err := b.forward.AddRule(s); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a handshake to be refused", func() bool {
		return a.m.Drops()[DropHandshake.String()]+c.m.Drops()[DropHandshake.String()] > 0
	})
	if s, ok := a.m.SessionClass(c.pk, 1); !ok || s.Up() {
		t.Error("a session of two classes came up")
	}
}

// TestMuxIsOfOneClass: and of a session that is there, or far ends could have us remember
// classes for ever.
func TestMuxIsOfOneClass(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	peer := testKey()
	n.m.SetMux(peer, 1, true)
	spec := RouteSpec{Peer: peer, Out: forward.Neighbour{Peer: testKey()}, OutLabel: 1, In: forward.Neighbour{Peer: testKey()}}
	muxed := func(class uint32) bool {
		t.Helper()
		s, ok := n.m.SessionClass(peer, class)
		if !ok {
			t.Fatalf("no session of class %d", class)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.mux
	}
	var ids []uint64
	for class := range uint32(3) {
		spec.Class, spec.OutLabel = class, packet.Label(class+1)
		in, err := n.m.AddRoute(spec)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, in.ID)
	}
	n.m.SetMux(peer, 1, true)
	n.m.SetMux(peer, 2, true)
	n.m.SetMux(peer, 2, false)
	if muxed(0) || !muxed(1) || muxed(2) {
		t.Errorf("mux %v, %v, %v; want class 1 alone", muxed(0), muxed(1), muxed(2))
	}
	if err := n.m.RemoveRoute(ids[1]); err != nil {
		t.Fatal(err)
	}
	spec.Class, spec.OutLabel = 1, 9
	if _, err := n.m.AddRoute(spec); err != nil {
		t.Fatal(err)
	}
	if muxed(1) {
		t.Error("a new session inherited mux")
	}
}
