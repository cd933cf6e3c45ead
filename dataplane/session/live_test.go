package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

func TestSegmentsOfASuperSegment(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s := a.dial(c)
	const seq = 1<<32 - 1000 // wraps
	data := make([]byte, 60_000)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	hdr := append(tcpHeader(seq, 0x10|tcpFIN|tcpPSH|tcpCWR), 1, 1, 1, 1) // options
	hdr[12] = 6 << 4
	kept := bytes.Clone(hdr)
	if err := s.SendTCP(hdr, [][]byte{data[:7], nil, data[7:]}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(hdr, kept) {
		t.Error("SendTCP changed the caller's header")
	}
	var n int
	c.up.until(t, "all segments", func() bool {
		n = len(c.up.got)
		return c.up.bytes == len(data)+n*len(hdr)
	})
	at := 0
	for i, p := range c.up.got { // one path: they arrive in order
		th, body := p[1:1+len(hdr)], p[1+len(hdr):]
		want := byte(0x10)
		if i == 0 {
			want |= tcpCWR
		}
		if i == n-1 {
			want |= tcpFIN | tcpPSH
		}
		if th[tcpFlags] != want {
			t.Errorf("segment %d of %d: flags %#x, want %#x", i, n, th[tcpFlags], want)
		}
		if got, want := binary.BigEndian.Uint32(th[tcpSeq:]), uint32(seq+uint64(at)); got != want {
			t.Errorf("segment %d: seq %d, want %d", i, got, want)
		}
		if !bytes.Equal(th[20:], hdr[20:]) || !bytes.Equal(body, data[at:at+len(body)]) {
			t.Errorf("segment %d: options or data differ", i)
		}
		at += len(body)
	}
}

func TestSuperSegmentsPassStreamsUnsplit(t *testing.T) {
	nodes := newNodes(t, 2, nodeOptions{})
	a, b := nodes[0], nodes[1]
	connectOver(t, a, b, link.STCPR)
	s := a.dial(b)
	data := bytes.Repeat([]byte("superseg"), 8000)
	if err := s.SendTCP(tcpHeader(0, tcpPSH), [][]byte{data}); err != nil {
		t.Fatal(err)
	}
	b.up.until(t, "the segment", func() bool { return bytes.Equal(b.up.stream(), data) })
	if b.up.packets != 1 {
		t.Errorf("%d segments arrived, want the one that was sent", b.up.packets)
	}
}

// TestNarrowSecondHop: the first link carries 64 KiB, the second a datagram.
func TestNarrowSecondHop(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connectOver(t, a, b, link.STCPR)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s := a.dial(c)
	eventually(t, "the second link's MTU to be found", func() bool {
		var narrow int
		for _, l := range b.links.Links() {
			if l.Peer() == c.pk {
				narrow = l.MTU()
			}
		}
		for _, r := range a.m.Routes() {
			if r.Peer == c.pk {
				return r.MTU > startMTU && r.MTU == narrow
			}
		}
		return false
	})
	data := bytes.Repeat([]byte("superseg"), 8000)
	if err := s.SendTCP(tcpHeader(0, tcpPSH), [][]byte{data}); err != nil {
		t.Fatal(err)
	}
	c.up.until(t, "the segment", func() bool { return bytes.Equal(c.up.stream(), data) })
}

func TestLargePacketGoesInFragments(t *testing.T) {
	nodes := newNodes(t, 2, nodeOptions{})
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	s := a.dial(b)
	data := bytes.Repeat([]byte("0123456789abcdef"), 4095)
	if err := s.SendPacket(packet.ProtoUDP, []byte{1, 2, 3, 4}, data); err != nil {
		t.Fatal(err)
	}
	b.up.until(t, "the datagram", func() bool { return len(b.up.got) == 1 })
	if want := append([]byte{packet.ProtoUDP, 1, 2, 3, 4}, data...); !bytes.Equal(b.up.got[0], want) {
		t.Error("the datagram differs")
	}
	if err := s.SendPacket(packet.ProtoUDP, []byte{1, 2, 3, 4}, make([]byte, MaxPacket-3)); !errors.Is(err, ErrTooBig) {
		t.Errorf("a payload above MaxPacket: %v, want ErrTooBig", err)
	}
	if err := s.SendTCP(make([]byte, 19), nil); !errors.Is(err, ErrHeader) {
		t.Errorf("a short TCP header: %v, want ErrHeader", err)
	}
}

// shortLimits make keys old fast. With each rekey as short as here, hundreds of
// times as often as in life, nothing may be lost.
func shortLimits(rekey time.Duration) noise.Limits {
	return noise.Limits{
		RekeyAfter: rekey, TakeoverAfter: 2 * rekey, RejectAfter: 6 * rekey,
		ConfirmWithin: 2 * rekey, RekeyPackets: 1 << 40,
	}
}

// TestRekeyUnderLoad sends on a sealed route through many rekeys, both ways at
// once, and expects every packet, with no drop of any kind.
func TestRekeyUnderLoad(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{limits: shortLimits(250 * time.Millisecond)})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	ends := [2]*Session{a.dial(c), c.dial(a)}
	first := ends[0].ring.SendEpoch(ns(a.links.Now()))
	const rounds = 3000 // a millisecond each
	var wg sync.WaitGroup
	for _, s := range ends {
		wg.Go(func() {
			var hdr [4]byte
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := range uint32(rounds) {
				<-tick.C
				binary.BigEndian.PutUint32(hdr[:], i)
				if err := s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]); err != nil {
					t.Errorf("packet %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, n := range []*node{a, c} {
		n.up.until(t, "all packets", func() bool { return n.up.packets >= rounds })
		if d := n.drops(); len(d) != 0 {
			t.Errorf("drops: %v", d)
		}
	}
	if now := ends[0].ring.SendEpoch(ns(a.links.Now())); now == first {
		t.Error("the keys never changed: the test showed nothing")
	}
}

// TestTickSparesNewKeys: a tick between the moments in which a handshake bound its
// route and in which its keys were installed took them for old ones and unbound it, so
// all that came under them was dropped.
func TestTickSparesNewKeys(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{limits: shortLimits(400 * time.Millisecond)})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	ends := [2]*Session{a.dial(c), c.dial(a)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, s := range ends {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s.mu.Lock()
				for _, r := range s.routes {
					r.forget(ns(s.m.links.Now()))
				}
				s.mu.Unlock()
				runtime.Gosched() // the two of them are not to be the machine's only work
			}
		})
	}
	keys := map[*epoch]bool{}
	eventually(t, "ten sets of keys", func() bool {
		for _, s := range ends {
			if ep := s.ring.SendEpoch(ns(a.links.Now())); ep != nil {
				keys[ep] = true
			}
		}
		return len(keys) >= 20 // both ends'
	})
	close(stop)
	wg.Wait()
	for _, n := range []*node{a, c} {
		if d := n.drops(); d["bind"]+d["unbound"] != 0 {
			t.Errorf("drops: %v", d)
		}
	}
}

// TestNumbersAreNeverReused lets senders run through rekeys and collects every
// (keys, route id, number) that they use.
func TestNumbersAreNeverReused(t *testing.T) {
	b := newBare(t)
	r := b.sealed
	b.s.adopt(b.ep)
	type used struct {
		ep       *epoch
		id       uint32
		from, to uint64 // numbers
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	seen := make([][]used, 4)
	for i := range seen {
		wg.Go(func() {
			for n := 1; ; n = n%44 + 1 {
				select {
				case <-stop:
					return
				default:
				}
				e := encoder{seal: r.send.Load()}
				if e.reserve(n) != nil {
					t.Error("no numbers left")
					return
				}
				seen[i] = append(seen[i], used{e.seal.epoch, e.seal.id, e.counter, e.counter + uint64(n)})
				runtime.Gosched()
			}
		})
	}
	for range 50 { // new keys, announced twice
		ep := noise.NewEpoch(noise.Keys{}, 0, 0, epochState{first: r})
		b.s.ring.InstallInitiator(ep, 0)
		for range 2 {
			b.s.adopt(ep)
			before := r.send.Load().counter.Used()
			for r.send.Load().counter.Used() < before+100 { // let the senders work
				runtime.Gosched()
			}
		}
	}
	close(stop)
	wg.Wait()
	type space struct {
		ep *epoch
		id uint32
	}
	all := make(map[space][]used)
	for _, list := range seen {
		for _, u := range list {
			all[space{u.ep, u.id}] = append(all[space{u.ep, u.id}], u)
		}
	}
	if len(all) < 50 {
		t.Errorf("%d number spaces used, want at least 50", len(all))
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b used) int { return cmp.Compare(a.from, b.from) })
		for i := range list[1:] {
			if list[i].to > list[i+1].from {
				t.Fatalf("numbers from %d on of route %d used twice under one key", list[i+1].from, list[i].id)
			}
		}
	}
}

// diamond makes A–B–D and A–C–D with a route from A to D over each.
func diamond(t *testing.T, o nodeOptions) (a, b, c, d *node) {
	nodes := newNodes(t, 4, o)
	a, b, c, d = nodes[0], nodes[1], nodes[2], nodes[3]
	connect(t, a, b)
	connect(t, b, d)
	connect(t, a, c)
	connect(t, c, d)
	join(t, 100, a, b, d)
	join(t, 200, a, c, d)
	return a, b, c, d
}

func (n *node) routesUp(peer *node) (up int) {
	for _, r := range n.m.Routes() {
		if r.Peer == peer.pk && r.State == StateUp {
			up++
		}
	}
	return up
}

// TestOneOfTwoRoutesDies keeps packets flowing while the visor that carries them
// vanishes without a word. Those under way are lost; then the other route has to
// take over within about the time that makes a route suspect.
func TestOneOfTwoRoutesDies(t *testing.T) {
	a, b, c, d := diamond(t, nodeOptions{})
	s := a.dial(d)
	eventually(t, "both routes to come up", func() bool { return a.routesUp(d) == 2 && d.routesUp(a) == 2 })
	if got := len(a.m.Routes()); got != 4 { // two direct ones to the neighbours
		t.Errorf("%d routes, want 4", got)
	}
	var hdr [4]byte
	send := func() { _ = s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]) }
	send()
	d.up.until(t, "a packet", func() bool { return d.up.packets > 0 })
	victim := b
	for _, r := range a.m.Routes() {
		if r.Peer == d.pk && r.InUse && r.Out.Peer == c.pk {
			victim = c
		}
	}
	// Not a clean end: the rules vanish, the links stay.
	for _, r := range victim.forward.Rules() {
		if r.Op == "forward" {
			if err := victim.forward.RemoveRule(r.InLabel); err != nil {
				t.Fatal(err)
			}
		}
	}
	died := time.Now()
	d.up.mu.Lock()
	before := d.up.packets
	d.up.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for back := false; !back; <-tick.C {
		send()
		d.up.mu.Lock()
		back = d.up.packets > before+5
		d.up.mu.Unlock()
		if time.Since(died) > 5*time.Second {
			t.Fatalf("no packet for 5 s; routes %+v", a.m.Routes())
		}
	}
	t.Logf("packets again after %v", time.Since(died).Round(time.Millisecond))
}

// TestLinkDownMovesFlowsAtOnce: the first link says that it ends.
func TestLinkDownMovesFlowsAtOnce(t *testing.T) {
	a, b, c, d := diamond(t, nodeOptions{})
	s := a.dial(d)
	eventually(t, "both routes to come up", func() bool { return a.routesUp(d) == 2 && d.routesUp(a) == 2 })
	var hdr [4]byte
	for _, hop := range []*node{b, c} {
		if err := a.links.RemoveLink(hop.pk, link.SUDPH); err != nil {
			t.Fatal(err)
		}
		if hop == b {
			eventually(t, "the other route in use", func() bool { return s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]) == nil })
		}
	}
	eventually(t, "nothing left to send on", func() bool {
		return errors.Is(s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]), ErrNoRoute)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := a.m.Dial(ctx, d.pk)
	var pe *PathError
	if !errors.As(err, &pe) || !errors.Is(err, ErrRouteDown) || !strings.Contains(err.Error(), "no link to its first hop") {
		t.Errorf("Dial = %v, want ErrRouteDown that names the first hop", err)
	}
}

func TestMuxSpreadsFlows(t *testing.T) {
	a, _, _, d := diamond(t, nodeOptions{mux: true})
	s := a.dial(d)
	eventually(t, "both routes to come up", func() bool { return a.routesUp(d) == 2 && d.routesUp(a) == 2 })
	eventually(t, "flows on both routes", func() bool {
		for flow := range uint32(64) {
			var hdr [4]byte
			binary.BigEndian.PutUint32(hdr[:], flow)
			if err := s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]); err != nil {
				t.Fatal(err)
			}
		}
		both := 0
		for _, r := range a.m.Routes() {
			if r.Peer == d.pk && r.TxPackets > 10 {
				both++
			}
		}
		return both == 2
	})
}

// TestRouteReplacesDirectLink: the direct link goes, a longer route is there, and
// the session's keys are ready, so that it works at once.
func TestRouteReplacesDirectLink(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, c)
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s := a.dial(c)
	eventually(t, "both routes to come up", func() bool { return a.routesUp(c) == 2 && c.routesUp(a) == 2 })
	for _, r := range a.m.Routes() {
		if r.Peer == c.pk && r.InUse != r.Direct {
			t.Errorf("route %+v: the direct one should be in use", r)
		}
	}
	if err := a.links.RemoveLink(c.pk, link.SUDPH); err != nil {
		t.Fatal(err)
	}
	var hdr [4]byte
	eventually(t, "the longer route in use", func() bool { return s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]) == nil })
	c.up.until(t, "a packet", func() bool { return c.up.packets > 0 })
	if a.up.downs != nil || a.up.ups == 0 {
		t.Errorf("the floor above heard %d ups and downs %v; want no down", a.up.ups, a.up.downs)
	}
}

func TestDialErrors(t *testing.T) {
	nodes := newNodes(t, 2, nodeOptions{})
	a, b := nodes[0], nodes[1]
	nobody, _ := cipher.GenerateKeyPair()
	_, err := a.m.Dial(context.Background(), nobody)
	if !errors.Is(err, ErrNoRoute) || !strings.Contains(err.Error(), nobody.String()) {
		t.Errorf("Dial without a route = %v, want ErrNoRoute with the key", err)
	}
	connect(t, a, b)
	// A route whose far end does not exist: b drops what it does not know.
	if _, err := a.m.AddRoute(RouteSpec{
		Peer: nobody, Out: forward.Neighbour{Peer: b.pk}, OutLabel: 5, In: forward.Neighbour{Peer: b.pk}, InLabel: 6,
	}); err != nil {
		t.Fatal(err)
	}
	// Long enough for a second try: a hop that has just started says nothing yet.
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	_, err = a.m.Dial(ctx, nobody)
	if !errors.Is(err, ErrHandshakeTimeout) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no rule for this label") {
		t.Errorf("Dial to somebody who does not answer = %v, want ErrHandshakeTimeout", err)
	}
	if _, err := a.m.AddRoute(RouteSpec{Peer: a.pk}); !errors.Is(err, ErrSelf) {
		t.Errorf("AddRoute to myself = %v, want ErrSelf", err)
	}
	if err := a.m.RemoveRoute(99); !errors.Is(err, ErrNoSuchRoute) {
		t.Errorf("RemoveRoute(99) = %v, want ErrNoSuchRoute", err)
	}
}

func TestRemovedRouteEndsItsSession(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s := a.dial(c)
	a.up.until(t, "sessions up", func() bool { return a.up.ups == 2 })
	for _, r := range a.m.Routes() {
		if !r.Direct {
			if err := a.m.RemoveRoute(r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.up.until(t, "session down", func() bool { return len(a.up.downs) == 1 })
	if _, ok := a.m.Session(c.pk); ok || s.Up() {
		t.Error("the session is still there")
	}
	join(t, 300, a, b, c) // and a new one works: a's timestamps went on
	a.dial(c)
}

// TestPeerRestarts: the far end of a sealed route comes back without its keys.
func TestPeerRestarts(t *testing.T) {
	nodes := newNodes(t, 2, nodeOptions{})
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	_, sk := cipher.GenerateKeyPair()
	local := netip.MustParseAddrPort("127.0.0.1:0")
	c := startNode(t, sk, local, nodeOptions{})
	connect(t, c, b)
	join(t, 100, a, b, c)
	a.dial(c)
	c.stop()
	c = startNode(t, sk, local, nodeOptions{})
	connect(t, c, b)
	if _, err := c.m.AddRoute(RouteSpec{
		Peer: a.pk, Out: forward.Neighbour{Peer: b.pk}, OutLabel: 112, In: forward.Neighbour{Peer: b.pk}, InLabel: 121,
	}); err != nil {
		t.Fatal(err)
	}
	s := c.dial(a)
	var hdr [4]byte
	if err := s.SendPacket(packet.ProtoUDP, hdr[:], hdr[:]); err != nil {
		t.Fatal(err)
	}
	a.up.until(t, "a packet under the new keys", func() bool { return a.up.packets > 0 })
}
