package forward

import (
	"errors"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestReserve: a reserved label takes no packets until a rule has it, and only one for
// the neighbour that it was given to.
func TestReserve(t *testing.T) {
	e := newTestEngine(t, open)
	a, b := testKey(t), testKey(t)
	in, out := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	l, err := e.Reserve(Neighbour{Peer: a}, time.Minute)
	if err != nil || l <= packet.MaxStaticLabel {
		t.Fatalf("Reserve = %d, %v", l, err)
	}
	var burst link.Burst
	fill(&burst, in, 64, l)
	e.HandleBurst(&burst)
	if got := e.Drops()[DropNoLabel.String()]; got != 1 || len(out.labels) != 0 {
		t.Errorf("under a label without a rule: drops %v, %d forwarded", e.Drops(), len(out.labels))
	}
	spec := RuleSpec{In: Neighbour{Peer: b}, InLabel: l, Out: Neighbour{Peer: a}, OutLabel: 70}
	if _, err := e.AddRule(spec); !errors.Is(err, ErrLabelTaken) {
		t.Errorf("for another neighbour: %v, want ErrLabelTaken", err)
	}
	spec.In, spec.Out = spec.Out, spec.In
	if got, err := e.AddRule(spec); err != nil || got != l {
		t.Fatalf("AddRule = %d, %v; want %d", got, err, l)
	}
	e.Release(l) // has no say any more
	fill(&burst, in, 64, l)
	e.HandleBurst(&burst)
	if len(out.labels) != 1 || out.labels[0] != 70 {
		t.Errorf("forwarded %v", out.labels)
	}
	if _, err := e.AddRule(spec); !errors.Is(err, ErrLabelTaken) {
		t.Errorf("a second rule under one label: %v", err)
	}
	if err := e.RemoveRule(l); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddRule(spec); !errors.Is(err, ErrBadLabel) {
		t.Errorf("a label whose rule is gone: %v, want ErrBadLabel", err)
	}

	d, err := e.Reserve(Neighbour{Peer: a, Type: link.STCPR}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddDeliver(DeliverSpec{In: Neighbour{Peer: a, Type: link.SUDPH}, Label: d}); !errors.Is(err, ErrLabelTaken) {
		t.Errorf("for another type of link: %v", err)
	}
	if r, err := e.AddDeliver(DeliverSpec{In: Neighbour{Peer: a, Type: link.STCPR}, Label: d}); err != nil || r.Label() != d {
		t.Errorf("AddDeliver: %v", err)
	}
}

func TestReservationsEnd(t *testing.T) {
	e := newTestEngine(t, open)
	e.Close() // no sweeps but ours
	n := Neighbour{Peer: testKey(t)}
	reserve := func(ttl time.Duration) packet.Label {
		t.Helper()
		l, err := e.Reserve(n, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	take := func(l packet.Label) error {
		_, err := e.AddDeliver(DeliverSpec{In: n, Label: l})
		return err
	}
	short, long, released := reserve(5*time.Hour), reserve(9*time.Hour), reserve(9*time.Hour)
	e.expire(time.Hour)
	e.Release(released)
	e.Release(released)
	e.expire(7 * time.Hour)
	if err := take(short); !errors.Is(err, ErrBadLabel) {
		t.Errorf("expired: %v", err)
	}
	if err := take(released); !errors.Is(err, ErrBadLabel) {
		t.Errorf("released: %v", err)
	}
	if err := take(long); err != nil {
		t.Errorf("in time: %v", err)
	}
	for range maxReserved {
		reserve(time.Hour)
	}
	if _, err := e.Reserve(n, time.Hour); !errors.Is(err, ErrTooManyReserved) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := e.Reserve(n, 0); err == nil {
		t.Error("reserved for no time at all")
	}
	if _, err := e.Reserve(Neighbour{Peer: e.cfg.PubKey}, time.Hour); !errors.Is(err, ErrSamePeer) {
		t.Errorf("for ourselves: %v", err)
	}
}

// TestTurn: a rule may lead back to where packets come from only if it says so.
func TestTurn(t *testing.T) {
	e := newTestEngine(t, open)
	a := testKey(t)
	f := e.join(t, a, link.SUDPH)
	spec := RuleSpec{In: Neighbour{Peer: a}, Out: Neighbour{Peer: a}, OutLabel: 70}
	if _, err := e.AddRule(spec); !errors.Is(err, ErrSamePeer) {
		t.Errorf("without Turn: %v", err)
	}
	spec.Turn = true
	l, err := e.AddRule(spec)
	if err != nil {
		t.Fatal(err)
	}
	var burst link.Burst
	fill(&burst, f, 64, l)
	e.HandleBurst(&burst)
	if len(f.labels) != 1 || f.labels[0] != 70 {
		t.Errorf("sent back %v, want one packet under 70", f.labels)
	}
	spec.Out.Peer = e.cfg.PubKey
	if _, err := e.AddRule(spec); !errors.Is(err, ErrSamePeer) {
		t.Errorf("to ourselves: %v", err)
	}
}

// send brings one packet of a kind under l.
func (e *Engine) send(f *fakeLink, l packet.Label, kind packet.Kind) {
	var burst link.Burst
	fill(&burst, f, 64, l)
	packet.RouteHeader{Label: l, Kind: kind, Length: 56}.Put(burst.Pkt[0])
	e.HandleBurst(&burst)
}

// TestRepliesRefresh: a route that only one end wants keeps its rules in both
// directions: its probes refresh the way there, their replies the way back.
func TestRepliesRefresh(t *testing.T) {
	e := newTestEngine(t, open)
	e.Close() // no sweeps but ours
	a, b := testKey(t), testKey(t)
	fa, fb := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	there, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, Out: Neighbour{Peer: b}, OutLabel: 70, TTL: 10 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	back, err := e.AddRule(RuleSpec{In: Neighbour{Peer: b}, Out: Neighbour{Peer: a}, OutLabel: 71, TTL: 10 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for at := time.Hour; at < 100*time.Hour; at += 9 * time.Hour {
		e.expire(at)
		e.send(fa, there, packet.KindProbe)
		e.send(fb, back, packet.KindReply)
	}
	if got := e.Rules(); len(got) != 4 { // and two direct ones
		t.Fatalf("rules: %+v", got)
	}
	e.expire(200 * time.Hour) // sees the last ones
	e.send(fa, there, packet.KindSess)
	e.send(fb, back, packet.KindData)
	if e.expire(300 * time.Hour); len(e.Rules()) != 2 {
		t.Errorf("a handshake or data kept a rule: %+v", e.Rules())
	}
}

// TestExpiredIsTold: the end of a route hears that its rule is gone, once.
func TestExpiredIsTold(t *testing.T) {
	e := newTestEngine(t, open)
	e.Close() // no sweeps but ours
	told := 0
	r, err := e.AddDeliver(DeliverSpec{
		In: Neighbour{Peer: testKey(t)}, TTL: 10 * time.Hour,
		Expired: func() { told++; e.Rules() }, // it may call
	})
	if err != nil {
		t.Fatal(err)
	}
	e.expire(time.Hour)
	e.expire(10 * time.Hour)
	if told != 0 {
		t.Error("told too early")
	}
	e.expire(12 * time.Hour)
	e.expire(24 * time.Hour)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if err := e.RemoveRule(r.Label()); !errors.Is(err, ErrNoRule) {
		t.Errorf("RemoveRule: %v", err)
	}
}

// TestCloseEndsRules: a close passes and takes its rule along, but for one without a
// TTL, which an operator has set.
func TestCloseEndsRules(t *testing.T) {
	e := newTestEngine(t, open)
	e.Close() // no sweeps but ours
	a, b := testKey(t), testKey(t)
	fa, fb := e.join(t, a, link.SUDPH), e.join(t, b, link.SUDPH)
	wanted, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, Out: Neighbour{Peer: b}, OutLabel: 70, TTL: 1000 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	static, err := e.AddRule(RuleSpec{In: Neighbour{Peer: a}, InLabel: 9, Out: Neighbour{Peer: b}, OutLabel: 71})
	if err != nil {
		t.Fatal(err)
	}
	sink := &fakeSink{}
	end, err := e.AddDeliver(DeliverSpec{In: Neighbour{Peer: a}, TTL: 1000 * time.Hour, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	e.send(fb, wanted, packet.KindClose) // from somebody else
	e.expire(time.Hour)
	for _, l := range []packet.Label{wanted, static, end.Label()} {
		e.send(fa, l, packet.KindClose)
	}
	e.send(fa, wanted, packet.KindData) // overtaken by the close
	if len(fb.labels) != 3 || sink.packets != 1 {
		t.Errorf("forwarded %v, delivered %d; the close has to pass, and what follows in the same moment", fb.labels, sink.packets)
	}
	e.expire(2 * time.Hour)
	left := map[packet.Label]bool{}
	for _, r := range e.Rules() {
		left[r.InLabel] = true
	}
	if left[wanted] || !left[static] || !left[end.Label()] {
		t.Errorf("left %v; gone should be the forwarding rule with a TTL, %d: what its end does is the end's affair", left, wanted)
	}
}
