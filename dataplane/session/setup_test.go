package session

import (
	"context"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/packet"
)

// setUp makes a route from a by way of mid to b as route set-up does it: labels first,
// then rules, then the far end, and the end that asked for it last.
func setUp(t *testing.T, class uint32, a, mid, b *node, last func()) {
	t.Helper()
	const ttl = time.Minute
	near := func(n *node) forward.Neighbour { return forward.Neighbour{Peer: n.pk} }
	reserve := func(at, from *node) packet.Label {
		l, err := at.forward.Reserve(near(from), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	there, back, atA, atB := reserve(mid, a), reserve(mid, b), reserve(a, mid), reserve(b, mid)
	for _, r := range []forward.RuleSpec{
		{In: near(a), InLabel: there, Out: near(b), OutLabel: atB, TTL: ttl},
		{In: near(b), InLabel: back, Out: near(a), OutLabel: atA, TTL: ttl},
	} {
		if _, err := mid.forward.AddRule(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.m.AddRoute(RouteSpec{
		Peer: a.pk, Out: near(mid), OutLabel: back, In: near(mid), InLabel: atB, TTL: ttl, Class: class, Answer: true,
	}); err != nil {
		t.Fatal(err)
	}
	last()
	if _, err := a.m.AddRoute(RouteSpec{
		Peer: b.pk, Out: near(mid), OutLabel: there, In: near(mid), InLabel: atA, TTL: ttl, Class: class,
	}); err != nil {
		t.Fatal(err)
	}
}

// TestAnsweredAtOnce: the end that did not begin the handshake could not send before its
// next tick. The answer to the first packet was dropped, and a stream began a second
// late, with a retransmission time-out of three.
func TestAnsweredAtOnce(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, mid, b := nodes[0], nodes[1], nodes[2]
	connect(t, a, mid)
	connect(t, mid, b)
	var refused []error
	b.up.mu.Lock()
	b.up.reply = func(s *Session) {
		if err := s.SendPacket(packet.ProtoUDP, []byte("answ"), nil); err != nil {
			refused = append(refused, err)
		}
	}
	b.up.mu.Unlock()
	const classes = 20
	for class := uint32(1); class <= classes; class++ {
		setUp(t, class, a, mid, b, func() {})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		s, err := a.m.DialClass(ctx, b.pk, class)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendPacket(packet.ProtoUDP, []byte("ques"), nil); err != nil {
			t.Fatal(err)
		}
	}
	a.up.until(t, "all answers", func() bool { return a.up.packets == classes })
	b.up.mu.Lock()
	defer b.up.mu.Unlock()
	if len(refused) > 0 {
		t.Errorf("%d answers could not be sent: %v", len(refused), refused[0])
	}
}

// TestAnsweringEndWaits: an end that has only been asked does not begin, whatever the
// order of the keys: its handshake would meet a label without a rule, be sent again half
// a second later, and make it drop the one of the other end meanwhile.
func TestAnsweringEndWaits(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, mid, b := nodes[0], nodes[1], nodes[2]
	connect(t, a, mid)
	connect(t, mid, b)
	for i, ends := range [][2]*node{{a, b}, {b, a}} { // one of them goes first by its key
		class := uint32(i + 1)
		asks, asked := ends[0], ends[1]
		setUp(t, class, asks, mid, asked, func() {
			s, ok := asked.m.SessionClass(asks.pk, class)
			if !ok {
				t.Fatal("no session at the end that was asked")
			}
			eventually(t, "it to decide", func() bool { return s.shake.tieUntil.Load() != 0 })
			if s.shake.active.Load() && asked.links.Now() < s.shake.tieUntil.Load() {
				t.Error("it has begun by itself")
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if _, err := asks.m.DialClass(ctx, asked.pk, class); err != nil {
			t.Error(err)
		}
		cancel()
	}
}
