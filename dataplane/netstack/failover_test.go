package netstack_test

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/netstack"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// Streams look for Spread at run time; without it they would use one path's share.
var _ netstack.Spreader = (*session.Session)(nil)

// A visor is the data plane of one, put together as controlplane/visor does it, on
// loopback. A frozen one keeps its links and carries nothing: of all ways to die the
// one that says least.
type visor struct {
	*forward.Engine // its label table, behind HandleBurst below
	frozen          atomic.Bool

	pk       cipher.PubKey
	links    *link.Engine
	sessions *session.Manager
	stack    *netstack.Stack
}

func (v *visor) HandleBurst(b *link.Burst) {
	if !v.frozen.Load() {
		v.Engine.HandleBurst(b)
	}
}

func (v *visor) DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (netstack.Peer, error) {
	s, err := v.sessions.DialClass(ctx, pk, class)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (v *visor) Lookup(overlay [16]byte) (netstack.Peer, bool) {
	s, ok := v.sessions.Lookup(overlay)
	return s, ok
}

func (v *visor) Deliver(from *session.Session, proto uint8, payloads [][]byte) {
	v.stack.Deliver(from, proto, payloads)
}

func (v *visor) SessionUp(*session.Session) {}

func (v *visor) SessionDown(s *session.Session, _ error) { v.stack.PeerGone(s.PubKey(), s.Class()) }

func startVisor(t *testing.T) *visor {
	t.Helper()
	_, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	v := &visor{pk: static.PubKey()}
	v.Engine = forward.New(forward.Config{PubKey: v.pk, Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	cfg := link.DefaultConfig()
	cfg.Static, cfg.UDP, cfg.Workers = static, netip.MustParseAddrPort("127.0.0.1:0"), 1
	if v.links, err = link.New(cfg, v); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.links.Run(ctx) }()
	if v.stack, err = netstack.New(netstack.Config{Network: v, PubKey: v.pk, Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	v.sessions, err = session.New(session.Config{Static: static, Links: v.links, Forward: v.Engine, Upper: v, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.stack.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("links: %v", err)
		}
		v.sessions.Close()
		v.Engine.Close()
	})
	return v
}

// route sets one up from a to b over a middle hop, in both directions and in a class.
func route(t *testing.T, a, mid, b *visor, class uint32) {
	t.Helper()
	const ttl = time.Minute
	near := func(v *visor) forward.Neighbour { return forward.Neighbour{Peer: v.pk} }
	reserve := func(at, from *visor) packet.Label {
		l, err := at.Reserve(near(from), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	there, back := reserve(mid, a), reserve(mid, b)
	atA, atB := reserve(a, mid), reserve(b, mid)
	for _, r := range []forward.RuleSpec{
		{In: near(a), InLabel: there, Out: near(b), OutLabel: atB, TTL: ttl},
		{In: near(b), InLabel: back, Out: near(a), OutLabel: atA, TTL: ttl},
	} {
		if _, err := mid.AddRule(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.sessions.AddRoute(session.RouteSpec{
		Peer: a.pk, Out: near(mid), OutLabel: back, In: near(mid), InLabel: atB, TTL: ttl, Class: class, Answer: true,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.sessions.AddRoute(session.RouteSpec{
		Peer: b.pk, Out: near(mid), OutLabel: there, In: near(mid), InLabel: atA, TTL: ttl, Class: class,
	}); err != nil {
		t.Fatal(err)
	}
}

// TestStreamOutlivesItsHop freezes the middle hop that a stream runs over. Another route
// of its class stands by: the stream goes on there, with nothing lost or doubled, where
// one without would be reset ten seconds later.
//
//	    ┌ hop ┐
//	A ──┤     ├── B
//	    └ hop ┘
func TestStreamOutlivesItsHop(t *testing.T) {
	const class = 5
	const before, all = 4 << 20, 16 << 20
	a, b, hops := startVisor(t), startVisor(t), [2]*visor{startVisor(t), startVisor(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, hop := range hops {
		for _, end := range []*visor{a, b} {
			l, err := end.links.AddLink(hop.pk, link.SUDPH, hop.links.UDPAddr())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.WaitUp(ctx); err != nil {
				t.Fatal(err)
			}
		}
		route(t, a, hop, b, class)
	}
	ln, err := b.stack.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := a.stack.DialClass(ctx, b.pk, class, 80)
	if err != nil {
		t.Fatal(err)
	}
	end, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both routes to be good at both ends", func() bool { return a.good(b) == 2 && b.good(a) == 2 })

	chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	go func() {
		for sent := 0; sent < all; sent += len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				return // the reader says what is missing
			}
		}
	}()
	read := func(n int) (gap time.Duration) {
		t.Helper()
		buf, last := make([]byte, len(chunk)), time.Now()
		for ; n > 0; n -= len(buf) {
			if _, err := io.ReadFull(end, buf); err != nil {
				t.Fatalf("%d bytes before the end: %v", n, err)
			}
			if !bytes.Equal(buf, chunk) {
				t.Fatal("the stream is damaged")
			}
			gap, last = max(gap, time.Since(last)), time.Now()
		}
		return gap
	}
	read(before)
	used := a.used(b)
	for _, hop := range hops {
		if hop.pk == used {
			hop.frozen.Store(true)
		}
	}
	gap := read(all - before)
	t.Logf("the stream stood still for %v", gap.Round(time.Millisecond))
	if now := a.used(b); now == used {
		t.Error("the frozen hop is still in use")
	}
}

// good counts the routes to peer that answer.
func (v *visor) good(peer *visor) (n int) {
	for _, r := range v.sessions.Routes() {
		if r.Peer == peer.pk && r.State == session.StateUp {
			n++
		}
	}
	return n
}

// used returns the first hop of the route to peer that flows take.
func (v *visor) used(peer *visor) cipher.PubKey {
	for _, r := range v.sessions.Routes() {
		if r.Peer == peer.pk && r.InUse {
			return r.Out.Peer
		}
	}
	return cipher.PubKey{}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !cond(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
