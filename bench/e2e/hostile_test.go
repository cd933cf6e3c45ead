//go:build e2e && linux

package e2e

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestHostileWire: somebody on the way between A and B damages, cuts, repeats and
// delays datagrams and adds some of his own. A file arrives, each kind of damage is
// counted under its reason, and B needs no more memory than for the same file over
// a good wire.
//
//	A ── M ── B
func TestHostileWire(t *testing.T) {
	r := chain(t, 2*time.Minute, 3)
	a, b := r.visor(0, nil), r.visor(2, nil)
	m := startMiddle(t, r, r.addr(b, 1))
	a.ctl("link", "add", b.PK.String(), netip.AddrPortFrom(r.net.Links[0].B.IPv4.Addr(), 7777).String())
	b.expose(b.serve(), 80, "--allow", a.PK.String())
	local := a.reach(b, 80)
	const size = 24 << 20
	if err := <-a.send(local, size).done; err != nil {
		t.Fatal(err)
	}
	before := b.rss()

	m.hostile.Store(true)
	if err := <-a.send(local, size).done; err != nil {
		t.Error(err)
	}
	m.hostile.Store(false)
	after := b.rss()
	drops := b.drops()
	t.Logf("B dropped %v; A %v; memory of B %d MiB, then %d MiB", drops, a.drops(), before>>20, after>>20)
	for _, reason := range []string{"malformed", "foreign", "unknown_index", "replay", "auth", "bad_mac1", "old_timestamp"} {
		if drops["link: "+reason] == 0 {
			t.Errorf("B counts nothing as %s", reason)
		}
	}
	if after > before+48<<20 {
		t.Errorf("B grew from %d to %d MiB", before>>20, after>>20)
	}
	if links := ask[[]api.Link](b, "link", "ls"); len(links) != 1 || links[0].State != api.LinkUp {
		t.Errorf("links of B: %+v", links)
	}
}

// A middle is a host on the way that passes datagrams on and, while it is hostile,
// does worse. It needs no keys for that.
type middle struct {
	front, back net.PacketConn // A's side and B's
	target      net.Addr
	client      atomic.Pointer[net.Addr]
	hostile     atomic.Bool
	wg          sync.WaitGroup
}

// startMiddle runs one in the middle namespace of a chain of three.
func startMiddle(t *testing.T, r *rig, target string) *middle {
	t.Helper()
	m := &middle{target: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(target))}
	var err error
	ns := r.net.NS[1]
	if m.front, err = ns.ListenPacket(":7777"); err != nil {
		t.Fatal(err)
	}
	if m.back, err = ns.ListenPacket(":0"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.PacketConn{m.front, m.back} {
		c.(*net.UDPConn).SetReadBuffer(4 << 20)
	}
	m.wg.Go(m.toB)
	m.wg.Go(m.toA)
	t.Cleanup(func() { m.front.Close(); m.back.Close(); m.wg.Wait() })
	return m
}

// toA passes on what B sends.
func (m *middle) toA() {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := m.back.ReadFrom(buf)
		if err != nil {
			return
		}
		if to := m.client.Load(); to != nil {
			m.front.WriteTo(buf[:n], *to)
		}
	}
}

// toB passes on what A sends, and from time to time treats it badly.
func (m *middle) toB() {
	random := rand.New(rand.NewPCG(2, 9)) // the same each time
	buf := make([]byte, 1<<16)
	var hello, old []byte // an initiation, and some datagram of before
	for i := 0; ; i++ {
		n, from, err := m.front.ReadFrom(buf)
		if err != nil {
			return
		}
		m.client.Store(&from)
		d := buf[:n]
		if n > 0 && packet.FrameType(d[0]) == packet.FrameInitiation && hello == nil {
			hello = append(hello, d...)
		}
		if m.hostile.Load() && i%16 == 0 {
			m.extra(random, d, hello, old)
		}
		if i%64 == 0 {
			old = append(old[:0], d...)
		}
		if m.hostile.Load() && i%512 == 0 {
			d[random.IntN(n)] ^= 1 << random.IntN(8) // in the place of the true one
		}
		m.back.WriteTo(d, m.target)
	}
}

// extra sends B something that A has not sent.
func (m *middle) extra(random *rand.Rand, d, hello, old []byte) {
	bad := append([]byte(nil), d...)
	switch random.IntN(7) {
	case 0: // one bit
		bad[random.IntN(len(bad))] ^= 1 << random.IntN(8)
	case 1: // cut
		bad = bad[:random.IntN(len(bad))]
	case 2: // with something behind
		bad = append(bad, 0)
	case 3: // repeated
		bad = append(bad[:0], old...)
	case 4: // noise
		bad = bad[:random.IntN(len(bad)+1)]
		crand.Read(bad)
	case 5: // noise that begins like a frame of ours, of whatever type
		crand.Read(bad)
		copy(bad, []byte{byte(packet.FrameFirst) + byte(random.IntN(6)), packet.Version, 0, 0})
		if bad[0] == byte(packet.FrameData) {
			bad[1] = 0
		}
		if bad[0] == byte(packet.FrameInitiation) {
			copy(bad[4:], []byte{0, 0, 0, 0})
		}
	case 6: // the handshake, once more
		bad = append(bad[:0], hello...)
	}
	m.back.WriteTo(bad, m.target)
}

// TestInjection: B, a visor whose owner has changed it, forwards between A and C, so
// that it knows every label, and puts packets of its own among those of A. C drops
// and counts them, and A's file arrives.
//
//	A ── B! ── C
func TestInjection(t *testing.T) {
	r := chain(t, time.Minute, 3)
	a, c := r.visor(0, nil), r.visor(2, nil)
	b := startRogue(t, r)
	for i, n := range []*node{a, c} {
		at := []netip.Addr{r.net.Links[0].B.IPv4.Addr(), r.net.Links[1].A.IPv4.Addr()}[i]
		n.ctl("link", "add", b.pk.String(), netip.AddrPortFrom(at, b.links.UDPAddr().Port()).String())
	}
	hop := func(pk cipher.PubKey, label uint32) string { return api.Hop{Link: pk, Label: label}.String() }
	a.ctl("route", "add-rule", "--peer", c.PK.String(), "--out", hop(b.pk, 17), "--in", hop(b.pk, 18))
	c.ctl("route", "add-rule", "--peer", a.PK.String(), "--out", hop(b.pk, 33), "--in", hop(b.pk, 34))
	// A rule of C that belongs to another neighbour: B knows its label all the same.
	other, _ := cipher.GenerateKeyPair()
	c.ctl("route", "add-rule", "--in", hop(other, 35), "--out", hop(b.pk, 36))
	for _, rule := range []forward.RuleSpec{
		{In: forward.Neighbour{Peer: a.PK}, InLabel: 17, Out: forward.Neighbour{Peer: c.PK}, OutLabel: 34},
		{In: forward.Neighbour{Peer: c.PK}, InLabel: 33, Out: forward.Neighbour{Peer: a.PK}, OutLabel: 18},
	} {
		if _, err := b.forward.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	s := c.serve()
	c.expose(s, 80, "--allow", a.PK.String())
	x := a.send(a.reach(c, 80), endless)
	r.eventually(10*time.Second, "nothing arrives", func() bool { return s.received.Load() > 1<<20 })

	tcp := make([]byte, 200) // overlay TCP, unsealed: a reset for the service's port
	tcp[0], tcp[4], tcp[13+1] = packet.ProtoTCP, 80, 0x04
	const each = 500
	for i := range each {
		for phase := range uint8(packet.PhaseMask + 1) {
			b.inject(t, c.PK, packet.RouteHeader{Label: 34, Kind: packet.KindData, Flags: phase}, tcp[:20+i%180])
		}
		hello := append([]byte{1 + byte(i%3), packet.Version, 0, 0}, noiseOf(40+i)...) // wire.md section 5.1
		b.inject(t, c.PK, packet.RouteHeader{Label: 34, Kind: packet.KindSess}, hello)
		b.inject(t, c.PK, packet.RouteHeader{Label: 34, Kind: packet.Kind(i)}, noiseOf(100))
		b.inject(t, c.PK, packet.RouteHeader{Label: 34, Kind: packet.KindData, Flags: 0xf0}, noiseOf(100))
		b.inject(t, c.PK, packet.RouteHeader{Label: 35, Kind: packet.KindData}, noiseOf(100))
		b.inject(t, c.PK, packet.RouteHeader{Label: 99, Kind: packet.KindData}, noiseOf(100))
	}
	before := s.received.Load()
	r.eventually(10*time.Second, "nothing more arrives", func() bool { return s.received.Load() > before+8<<20 })
	if err := x.finish(); err != nil {
		t.Error(err)
	}
	drops := c.drops()
	t.Logf("C dropped %v", drops)
	for reason, least := range map[string]uint64{
		"session: malformed": each, "session: forged": each, "session: no_keys": each,
		"session: kind": each / 2, "session: handshake": 1,
		"forward: wrong_link": each, "forward: no_label": each,
	} {
		if drops[reason] < least {
			t.Errorf("C counts %d as %s, want at least %d", drops[reason], reason, least)
		}
	}
}

func noiseOf(n int) []byte {
	b := make([]byte, n)
	crand.Read(b)
	return b
}

// A rogue is a middle visor without anything above, in the hands of the test.
type rogue struct {
	pk      cipher.PubKey
	links   *link.Engine
	forward *forward.Engine
}

// startRogue runs one in the middle namespace of a chain of three.
func startRogue(t *testing.T, r *rig) *rogue {
	t.Helper()
	_, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	g := &rogue{pk: static.PubKey()}
	g.forward = forward.New(forward.Config{PubKey: g.pk, Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	cfg := link.DefaultConfig()
	cfg.Static, cfg.UDP, cfg.Workers = static, netip.MustParseAddrPort("0.0.0.0:7777"), 1
	if err := r.net.NS[1].Do(func() (err error) {
		g.links, err = link.New(cfg, g.forward)
		return err
	}); err != nil {
		g.forward.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.links.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the rogue's links: %v", err)
		}
		g.forward.Close()
	})
	return g
}

// inject sends a route packet to a neighbour, over the true link.
func (g *rogue) inject(t *testing.T, to cipher.PubKey, h packet.RouteHeader, body []byte) {
	t.Helper()
	for _, l := range g.links.Links() {
		if l.Peer() != to {
			continue
		}
		h.Length = uint16(len(body))
		tx := g.links.GetTx()
		defer g.links.PutTx(tx)
		tx.Start(l)
		p := tx.Packet(packet.Padded(len(body)))
		clear(p)
		h.Put(p)
		copy(p[packet.RouteHeaderLen:], body)
		if err := tx.Flush(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the rogue has no link there")
}
