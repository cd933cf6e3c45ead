package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// alternating is a Handler that checks the order of what it hears: Attach, then up
// and down in turn, then Detach, for each link.
type alternating struct {
	*sink
	mu    sync.Mutex
	state map[*Link]string
	wrong []string
}

func newAlternating() *alternating {
	return &alternating{sink: newSink(), state: map[*Link]string{}}
}

func (a *alternating) Attach(l *Link) packet.Label {
	a.turn(l, "attached", "")
	return a.sink.Attach(l)
}
func (a *alternating) Detach(l *Link)            { a.turn(l, "detached", "attached", "down") }
func (a *alternating) LinkUp(l *Link)            { a.turn(l, "up", "attached", "down") }
func (a *alternating) LinkDown(l *Link, _ error) { a.turn(l, "down", "up") }

// turn notes that l has become to, which it may from any of the states in from.
func (a *alternating) turn(l *Link, to string, from ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(from, a.state[l]) {
		a.wrong = append(a.wrong, fmt.Sprintf("%q after %q", to, a.state[l]))
	}
	a.state[l] = to
}

func (a *alternating) check(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.wrong {
		t.Errorf("event %s", w)
	}
}

// TestBothCallAtOnce adds a link at both ends in the same moment, again and again:
// there is one, and it is up at both ends, soon.
func TestBothCallAtOnce(t *testing.T) {
	t.Parallel()
	ha, hb := newAlternating(), newAlternating()
	an, bn := startNode(t, ha, ha.sink, nil), startNode(t, hb, hb.sink, nil)
	for round := range 25 {
		var links [2]*Link
		var wg sync.WaitGroup
		for i, pair := range [2][2]*node{{an, bn}, {bn, an}} {
			wg.Go(func() {
				l, err := pair[0].AddLink(pair[1].pk, SUDPH, pair[1].UDPAddr())
				if err != nil {
					t.Error(err)
					return
				}
				links[i] = l
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		until(t, 4*time.Second, fmt.Sprintf("both ends are up in round %d", round), func() bool {
			return links[0].Up() && links[1].Up()
		})
		// What one end sends the other opens, whatever keys won.
		for i, l := range links {
			before := links[1-i].rxPackets.Load()
			send(t, l, 9, 5, 64)
			until(t, 4*time.Second, "packets arrive", func() bool { return links[1-i].rxPackets.Load() >= before+5 })
		}
		for _, n := range []*node{an, bn} {
			if got := len(n.Links()); got != 1 {
				t.Fatalf("%d links", got)
			}
		}
		_ = an.RemoveLink(bn.pk, SUDPH)
		_ = bn.RemoveLink(an.pk, SUDPH)
		until(t, 4*time.Second, "all is quiet", func() bool { return len(an.Links())+len(bn.Links()) == 0 })
	}
	an.stop()
	bn.stop()
	ha.check(t)
	hb.check(t)
}

// TestTie is the peer's initiation while ours is under way: fresh, the smaller key's
// goes on; stale, the peer's does.
func TestTie(t *testing.T) {
	n := newNode(t, nil)
	from := netip.MustParseAddrPort("127.0.0.1:9")
	seen := map[bool]bool{}
	for i := byte(1); len(seen) < 2; i++ {
		peer := staticKey(t, bytesOf(i, 32)).PubKey()
		l, err := n.link(peer, SUDPH, false, netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		wins := noise.WinsTie(n.pk, peer)
		seen[wins] = true
		now := n.Now()
		l.keys.Begin(time.Duration(now))
		_, err = n.admit(&responder{peer: peer, offer: offer{timestamp: 1}}, SUDPH, place(from.Addr()), now+retryFirst/4)
		_, busy := l.keys.Attempt()
		if (err != nil) != wins || busy != wins {
			t.Errorf("we win: %v, admit: %v, our handshake goes on: %v", wins, err, busy)
		}
		if _, err = n.admit(&responder{peer: peer, offer: offer{timestamp: 2}}, SUDPH, place(from.Addr()), now+retryFirst); err != nil {
			t.Errorf("our handshake is stale, and yet: %v", err)
		}
	}
}

// TestAdoptInbound adds the link that the neighbour has opened.
func TestAdoptInbound(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, func(c *Config) { c.Policy.MaxLinks = 1 })
	_, ba := join(t, an, bn)
	l, err := bn.AddLink(an.pk, SUDPH, an.UDPAddr())
	if err != nil || l != ba {
		t.Fatalf("AddLink = %v, %v, want the link that is there", l, err)
	}
	if err := l.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := bn.AddLink(an.pk, SUDPH, an.UDPAddr()); !errors.Is(err, ErrExists) {
		t.Errorf("AddLink again: %v, want ErrExists", err)
	}
	// It does not count as inbound any more, so another has room.
	cn := newNode(t, nil)
	lc, err := cn.AddLink(bn.pk, SUDPH, bn.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	if err := lc.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	// And it stays when the connection ends.
	if err := an.RemoveLink(bn.pk, SUDPH); err != nil {
		t.Fatal(err)
	}
	until(t, 8*time.Second, "it is up again", func() bool {
		return len(an.Links()) == 1 && an.Links()[0].Up() && ba.Up()
	})
	if got := an.Links()[0].Info(); got.Outbound {
		t.Errorf("at the end that had removed it, the link is %+v", got)
	}
}

// TestRemoveWhileConnecting takes a link away under whoever waits for it.
func TestRemoveWhileConnecting(t *testing.T) {
	an := newNode(t, nil)
	other, _ := cipher.GenerateKeyPair()
	for range 20 {
		l, err := an.AddLink(other, SUDPH, an.UDPAddr())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { done <- l.WaitUp(ctx) }()
		if err := an.RemoveLink(other, SUDPH); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, errGone) {
			t.Fatalf("WaitUp: %v, want %v", err, errGone)
		}
	}
	if err := an.RemoveLink(other, SUDPH); !errors.Is(err, ErrNotFound) {
		t.Errorf("RemoveLink: %v, want ErrNotFound", err)
	}
	until(t, 5*time.Second, "all indices are free", func() bool { return an.indicesInUse() == 0 })
}

// TestRemovedStaysDown finishes handshakes of a link that has been removed meanwhile.
func TestRemovedStaysDown(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, nil)
	ab, _ := join(t, an, bn)
	an.remove(ab, errGone)
	ab.mu.Lock()
	defer ab.mu.Unlock()
	k := newRxKey(ab, noise.Keys{}, 0, 1, offer{maxPacket: packet.MinMTU})
	ab.keys.InstallInitiator(k.epoch, time.Duration(an.Now()))
	if ab.use(k.epoch, bn.UDPAddr(), nil, an.Now()) || ab.Up() {
		t.Error("a removed link came up")
	}
	ab.keys.Clear()
}

// indicesInUse returns how many receiver indices are out.
func (e *Engine) indicesInUse() int {
	e.indices.mu.Lock()
	defer e.indices.mu.Unlock()
	return e.indices.next - len(e.indices.free)
}

// TestInboundAccounting runs random sequences of everything that makes, adopts and
// removes links against a count of what is there.
func TestInboundAccounting(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	h := newAlternating()
	n := startNode(t, h, h.sink, func(c *Config) { c.Policy.MaxLinks, c.Policy.MaxPerAddr = 12, 3 })
	peers := make([]cipher.PubKey, 24)
	for i := range peers {
		peers[i], _ = cipher.GenerateKeyPair()
	}
	for step := range 20000 {
		peer := peers[random.IntN(len(peers))]
		typ := []Type{SUDPH, STCPR}[random.IntN(2)]
		from := place(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(6))}))
		switch random.IntN(6) {
		case 0, 1, 2:
			_, _ = n.link(peer, typ, true, from)
		case 3:
			_, _ = n.link(peer, typ, false, netip.Prefix{})
		case 4:
			_ = n.RemoveLink(peer, typ)
		case 5:
			for _, l := range n.Links() {
				if l.peer == peer && l.typ == typ {
					l.died(errSilent)
				}
			}
		}
		inbound, perAddr := 0, map[netip.Prefix]int{}
		n.Engine.mu.Lock()
		for _, l := range n.links {
			if !l.outbound.Load() {
				inbound++
				perAddr[l.place]++
			}
		}
		counted, countedPer := n.inbound, fmt.Sprint(n.perAddr)
		n.Engine.mu.Unlock()
		if counted != inbound || countedPer != fmt.Sprint(perAddr) {
			t.Fatalf("seed %d step %d: counted %d %s, there are %d %v", seed, step, counted, countedPer, inbound, perAddr)
		}
		if inbound > 12 {
			t.Fatalf("seed %d step %d: %d inbound links", seed, step, inbound)
		}
		for at, have := range perAddr {
			if have > 3 {
				t.Fatalf("seed %d step %d: %d inbound links from %v", seed, step, have, at)
			}
		}
	}
	n.stop()
	h.check(t)
}

// TestHalfOpenComesUp: a link whose handshake was finished at the moment when its time
// was over was removed all the same.
func TestHalfOpenComesUp(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	_, ba := join(t, a, b)
	b.removeHalfOpen(ba)
	if !ba.Up() || len(b.Links()) != 1 {
		t.Error("a link that is up was removed as half-open")
	}
	pk, _ := cipher.GenerateKeyPair()
	l, err := b.link(pk, SUDPH, true, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	b.removeHalfOpen(l)
	b.expect(t, "detach")
	if len(b.Links()) != 1 || !l.state.gone {
		t.Error("a half-open link stays")
	}
}

// TestIndexReuse takes indices until slots come round again: an index that is out is
// never given out twice, and a slot's next tenant has another generation.
func TestIndexReuse(t *testing.T) {
	a := indexAllocator{gen: 200}
	random := rand.New(rand.NewPCG(2, 2))
	out := map[uint32]bool{}
	slots, last := map[int]bool{}, map[int]uint32{}
	for range 50000 {
		if len(out) > 100 || len(out) > 0 && random.IntN(2) == 0 {
			for index := range out {
				a.put(index)
				delete(out, index)
				delete(slots, indexSlot(index))
				break
			}
			continue
		}
		index, err := a.take(random.IntN(16))
		if err != nil {
			t.Fatal(err)
		}
		slot := indexSlot(index)
		if index == 0 || out[index] || slots[slot] || last[slot] == index {
			t.Fatalf("index %x was given out while it, or its slot, is in use, or twice in a row", index)
		}
		out[index], slots[slot], last[slot] = true, true, index
	}
	if a.next > 300 {
		t.Errorf("%d slots for at most 101 indices", a.next)
	}
}

// TestLateFrame sends a frame for an index that is gone, and whose slot has a new
// tenant.
func TestLateFrame(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, nil)
	p, ab, _ := through(t, an, bn)
	var frame []byte
	var mu sync.Mutex
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if _, _, ok := packet.ParseDataHeader(pkt); ok && toServer {
			mu.Lock()
			frame = append([]byte(nil), pkt...)
			mu.Unlock()
		}
		return [][]byte{pkt}
	})
	send(t, ab, 9, 1, 64)
	bn.wait(t, 1)
	if err := an.RemoveLink(bn.pk, SUDPH); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "the other end has heard", func() bool { return len(bn.Links()) == 0 })
	mu.Lock()
	late := frame
	mu.Unlock()
	index, counter, _ := packet.ParseDataHeader(late)
	// A new tenant of the slot: same slot, another generation.
	tenant := newRxKey(&Link{e: bn.Engine}, noise.Keys{}, index+1<<indexGenShift, 0, offer{})
	bn.keys.Store(indexSlot(index), tenant)
	defer bn.keys.Store(indexSlot(index), nil)
	packet.PutDataHeader(late, index, counter+1)
	before := bn.Drops()["unknown_index"]
	if _, err := p.back.Load().WriteToUDPAddrPort(late, bn.UDPAddr()); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "the frame is dropped for its index", func() bool { return bn.Drops()["unknown_index"] == before+1 })
}

// TestGuardKeepsPeersWithAnotherLink takes one of a peer's two links away.
func TestGuardKeepsPeersWithAnotherLink(t *testing.T) {
	n := newNode(t, nil)
	peer, _ := cipher.GenerateKeyPair()
	var links []*Link
	for _, typ := range []Type{SUDPH, STCPR} {
		l, err := n.link(peer, typ, true, place(netip.MustParseAddr("192.0.2.1")))
		if err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		l.state.offer = offer{maxPacket: packet.MinMTU}
		k := newRxKey(l, noise.Keys{}, 0, 1, l.state.offer)
		l.use(k.epoch, netip.MustParseAddrPort("127.0.0.1:9"), nil, n.Now())
		l.mu.Unlock()
		links = append(links, l)
	}
	n.guard.Track(peer, 100)
	links[0].died(errSilent)
	if n.guard.Admit(peer, 100) {
		t.Error("an old timestamp is admitted while another link is up")
	}
	links[1].died(errSilent)
	if !n.guard.Admit(peer, 100) {
		t.Error("the timestamp outlived the last link")
	}
}
