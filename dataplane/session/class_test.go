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
