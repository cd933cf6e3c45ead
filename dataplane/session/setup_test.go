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
// late, with a retransmission time-out of three. Here that tick does not come.
func TestAnsweredAtOnce(t *testing.T) {
	nobody := testKey()
	held, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	nodes := newNodes(t, 3, nodeOptions{told: func(in RouteInfo, _ RouteEvent) {
		if in.Peer == nobody {
			close(held)
			<-release
		}
	}})
	a, mid, b := nodes[0], nodes[1], nodes[2]
	connect(t, a, mid)
	connect(t, mid, b)
	const class = 1
	refused := make(chan error, 1)
	b.up.mu.Lock()
	b.up.reply = func(s *Session) {
		if s.Class() == class {
			refused <- s.SendPacket(packet.ProtoUDP, []byte("answer"), nil)
		}
	}
	b.up.mu.Unlock()
	setUp(t, class, a, mid, b, func() {
		in, err := b.m.AddRoute(RouteSpec{Peer: nobody, Out: forward.Neighbour{Peer: mid.pk}, OutLabel: 1, In: forward.Neighbour{Peer: mid.pk}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.m.RemoveRoute(in.ID); err != nil {
			t.Fatal(err)
		}
		<-held
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := a.m.DialClass(ctx, b.pk, class)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendPacket(packet.ProtoUDP, []byte("question"), nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if err != nil {
			t.Errorf("the answer could not be sent: %v", err)
		}
	case <-ctx.Done():
		t.Error("the question did not arrive")
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

// TestDroppedHandshakeComesAgain: the first packet on a new route met a link that was not
// quite up, and half a second went by, although the hop had said so. A hop cannot make us
// try more often than a few times.
func TestDroppedHandshakeComesAgain(t *testing.T) {
	n := newNodes(t, 1, nodeOptions{})[0]
	n.m.cancel() // nothing ticks
	n.m.done.Wait()
	s, err := newSession(n.m, end{peer: testKey()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &route{s: s, egress: new(forward.Egress)}
	k := &s.shake
	later := n.links.Now() + int64(time.Hour)
	k.next.Store(later)
	if r.RouteError(forward.CodeLinkDown, 0); k.next.Load() != later {
		t.Error("no handshake was under way")
	}
	k.active.Store(true)
	if r.RouteError(forward.CodeTooBig, 1300); k.next.Load() != later {
		t.Error("a handshake is never too big")
	}
	for i := range maxTold + 3 {
		k.next.Store(later)
		r.RouteError(forward.CodeLinkDown, 0)
		if sooner := k.next.Load() != later; sooner != (i < maxTold) {
			t.Errorf("error %d: sooner %v", i+1, sooner)
		}
	}
	s.abortHandshake()
	k.active.Store(true)
	if r.RouteError(forward.CodeNoLabel, 0); k.next.Load() == later {
		t.Error("the next handshake has to suffer for the last one")
	}
}

// TestHandshakeOutlivesLateRules: rules that come a moment after the handshake began cost
// little more than that moment.
func TestHandshakeOutlivesLateRules(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, mid, b := nodes[0], nodes[1], nodes[2]
	connect(t, a, mid)
	connect(t, mid, b)
	near := func(n *node) forward.Neighbour { return forward.Neighbour{Peer: n.pk} }
	if _, err := a.m.AddRoute(RouteSpec{
		Peer: b.pk, Out: near(mid), OutLabel: 11, In: near(mid), InLabel: 12, TTL: time.Minute, Class: 1,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.m.AddRoute(RouteSpec{
		Peer: a.pk, Out: near(mid), OutLabel: 13, In: near(mid), InLabel: 14, TTL: time.Minute, Class: 1, Answer: true,
	}); err != nil {
		t.Fatal(err)
	}
	s, _ := a.m.SessionClass(b.pk, 1)
	dialled := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := a.m.DialClass(ctx, b.pk, 1)
		dialled <- err
	}()
	eventually(t, "the hop to refuse a handshake, and to say so", func() bool { return s.shake.told.Load() > 0 })
	for _, r := range []forward.RuleSpec{
		{In: near(a), InLabel: 11, Out: near(b), OutLabel: 14, TTL: time.Minute},
		{In: near(b), InLabel: 13, Out: near(a), OutLabel: 12, TTL: time.Minute},
	} {
		if _, err := mid.forward.AddRule(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}
