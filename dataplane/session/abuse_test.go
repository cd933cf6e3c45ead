package session

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// inject sends a made-up route packet from n to its neighbour.
func (n *node) inject(to *node, pkt []byte) {
	n.t.Helper()
	for _, l := range n.links.Links() {
		if l.Peer() == to.pk {
			tx := n.links.GetTx()
			defer n.links.PutTx(tx)
			tx.Start(l)
			copy(tx.Packet(len(pkt)), pkt)
			if err := tx.Flush(); err != nil {
				n.t.Fatal(err)
			}
			return
		}
	}
	n.t.Fatal("no link to inject on")
}

// TestTransitHopCannotInject: b forwards between a and c, knows their labels, and
// tries to speak to a as c, and as itself on c's label.
func TestTransitHopCannotInject(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	a.dial(c)
	sa, _ := a.m.Session(c.pk)
	phase := uint8(sa.ring.SendEpoch(ns(a.links.Now())).Local)
	for _, body := range []string{"\x01bare payload", "\x01bare payload that is long enough to hold a number and a tag"} {
		pkt := plain(packet.KindData, phase, []byte(body))
		packet.PutLabel(pkt, 102) // where a takes c's packets from b
		b.inject(a, pkt)
	}
	eventually(t, "both to be dropped", func() bool { return a.m.Drops()["forged"] == 2 })
	if a.up.packets != 0 {
		t.Errorf("%q was delivered", a.up.got)
	}
	// c is no neighbour of a, so its label is good from b only.
	if got := a.forward.Drops(); len(got) != 0 {
		t.Errorf("forwarding drops %v", got)
	}
}

// TestReplayedInitiationIsHarmless plays an initiation of the peer twice while a
// session is up. The first makes half-open keys that nobody confirms; the second is
// no newer and nothing at all. Packets go on under the keys in use.
func TestReplayedInitiationIsHarmless(t *testing.T) {
	limits := noise.DefaultLimits()
	limits.ConfirmWithin = 300 * time.Millisecond
	nodes := newNodes(t, 3, nodeOptions{limits: limits})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	sa, sc := a.dial(c), c.dial(a)
	eventually(t, "both ends to settle on keys", func() bool { return sa.settled() && sc.settled() })
	current := sc.ring.SendEpoch(ns(c.links.Now()))
	hs, err := sa.newHandshake(true)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := hs.WriteMessage(nil, appendInitTLVs(nil, a.m.cfg.Clock.Next(), 4711, sa.phases.set()))
	if err != nil {
		t.Fatal(err)
	}
	sc.mu.Lock()
	rc := sc.routes[0]
	sc.mu.Unlock()
	before := sc.phases.set()
	for range 2 {
		c.m.shaker.jobs <- job{s: sc, r: rc, typ: msgInit, msg: msg}
	}
	eventually(t, "the second to be dropped", func() bool { return c.m.Drops()["handshake_old"] == 1 })
	if sc.phases.set() == before {
		t.Error("the first made no half-open keys: the test shows nothing")
	}
	if got := sc.ring.SendEpoch(ns(c.links.Now())); got != current {
		t.Error("a replay changed the keys in use")
	}
	for i := range 20 {
		if err := sc.SendPacket(packet.ProtoUDP, []byte{0, 0, 0, byte(i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	a.up.until(t, "packets under the old keys", func() bool { return a.up.packets == 20 })
	eventually(t, "the half-open keys to go", func() bool { return sc.phases.set() == before })
}

// TestForgedHandshakesAreCounted: a transit hop sends initiations that do not open.
func TestForgedHandshakesAreCounted(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s, sc := a.dial(c), c.dial(a)
	eventually(t, "both ends to settle on keys", func() bool { return s.settled() && sc.settled() })
	current := s.ring.SendEpoch(ns(a.links.Now()))
	pub := b.pk
	pkt := plain(packet.KindSess, 0, append(append(appendMessageHeader(nil, msgInit), pub[:]...), make([]byte, 40)...))
	packet.PutLabel(pkt, 102)
	const n = 50
	for range n {
		b.inject(a, pkt)
	}
	eventually(t, "all to be dropped", func() bool {
		d := a.m.Drops()
		return d["handshake"] > 0 && d["handshake"]+d["handshake_busy"] == n
	})
	if s.ring.SendEpoch(ns(a.links.Now())) != current {
		t.Error("forged handshakes changed the keys in use")
	}
}

func TestSilentPeerIsReported(t *testing.T) {
	b := newBare(t)
	b.s.up, b.s.heard = true, 100*time.Second
	var due []errand
	var notices []notice
	b.s.tick(109*time.Second, &due, &notices)
	if len(b.up.downs) != 0 {
		t.Fatal("down after 9 s of silence")
	}
	b.s.tick(111*time.Second, &due, &notices)
	b.s.tick(112*time.Second, &due, &notices)
	if len(b.up.downs) != 1 || !errors.Is(b.up.downs[0], ErrPeerSilent) {
		t.Errorf("downs = %v, want one ErrPeerSilent", b.up.downs)
	}
}

// TestIdleSessionIsSmall: a direct session with its keys, idle, within 5 KiB.
func TestIdleSessionIsSmall(t *testing.T) {
	const n, limit = 500, 5 << 10
	m := new(Manager)
	m.cfg.Limits = noise.DefaultLimits()
	keep := make([]*Session, n)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	before := heap()
	for i := range keep {
		s, err := newSession(m, end{peer: [33]byte{2}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := &route{s: s, direct: new(link.Link)}
		s.routes = append(s.routes, r)
		for phase := range uint32(2) { // current and previous
			ep := noise.NewEpoch(noise.Keys{}, phase, phase, epochState{first: r})
			s.ring.InstallInitiator(ep, 0)
			s.adopt(ep)
			r.recvMu.Lock()
			if err := r.claim(ep, &recvState{epoch: ep, id: phase, linked: true}); err != nil {
				t.Fatal(err)
			}
			r.recvMu.Unlock()
		}
		keep[i] = s
	}
	each := (heap() - before) / n
	t.Logf("%d bytes each", each)
	if each > limit {
		t.Errorf("an idle session takes %d bytes, want at most %d", each, limit)
	}
	runtime.KeepAlive(keep)
}
