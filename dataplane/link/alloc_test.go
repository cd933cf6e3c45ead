package link

import (
	"net/netip"
	"testing"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// hop is a Handler that sends everything on to another link.
type hop struct {
	*sink
	to *Link
	n  int
}

func (h *hop) HandleBurst(b *Burst) {
	for _, p := range b.Pkt[:b.N] {
		packet.PutLabel(p, 77)
	}
	if h.to.Forward(b.Tx, b, 0, b.N) == nil {
		h.n += b.N
	}
}

// bench is an engine that is driven by hand: its sockets are open and nobody reads
// them.
type byHand struct {
	*Engine
	*hop
	in, out *Link
	send    *noise.SendKey // seals what comes in on in
	index   uint32
	counter uint64
	from    netip.AddrPort
	nonce   noise.Nonce
}

// newByHand makes an engine with a link in, which tests fill, and a link out to the
// discard port.
func newByHand(t testing.TB) *byHand {
	t.Helper()
	h := &hop{sink: newSink()}
	cfg := DefaultConfig()
	cfg.Static = staticKey(t, bytesOf(9, 32))
	cfg.UDP = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Workers = 1
	e, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.closeSockets)
	b := &byHand{Engine: e, hop: h, from: netip.MustParseAddrPort("127.0.0.1:9")}
	b.in, b.send = b.up(t, 1)
	b.out, _ = b.up(t, 2)
	h.to = b.out
	b.index = b.in.send.Load().epoch.Local
	return b
}

// up makes a link that is up, and returns the key of its other end.
func (b *byHand) up(t testing.TB, n byte) (*Link, *noise.SendKey) {
	t.Helper()
	l, err := b.link(staticKey(t, bytesOf(n, 32)).PubKey(), SUDPH, false, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	index, err := b.indices.take(0)
	if err != nil {
		t.Fatal(err)
	}
	keys := noise.Keys{Send: [32]byte{n}, Recv: [32]byte{n, 1}}
	k := newRxKey(l, keys, index, 1, offer{maxPacket: maxUDPPacket})
	k.confirmed = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.offer = k.offer
	l.keys.InstallInitiator(k.epoch, 0)
	b.keys.Store(indexSlot(index), k)
	l.use(k.epoch, b.from, nil, 0)
	return l, noise.NewSendKey(keys.Recv)
}

// superpacket seals n route packets of size bytes for b, one behind the other in buf.
func (b *byHand) superpacket(buf []byte, n, size int) udpio.Superpacket {
	seg := size + packet.FrameOverhead
	for i := range n {
		f := buf[i*seg : (i+1)*seg]
		packet.PutDataHeader(f, b.index, b.counter)
		body := f[packet.FrameHeaderLen : len(f)-packet.TagLen]
		clear(body)
		packet.RouteHeader{Label: 5, Kind: packet.KindData, Length: uint16(size - packet.RouteHeaderLen)}.Put(body)
		b.send.Seal(body[:0], body, f[:packet.FrameHeaderLen], &b.nonce, 0, b.counter)
		b.counter++
	}
	return udpio.Superpacket{Data: buf[:n*seg], Seg: seg, From: b.from}
}

// TestAllocations guards the packet path: receiving, forwarding and sending allocate
// nothing. AllocsPerRun floors its mean, so each run has 100 batches.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under -race")
	}
	b := newByHand(t)
	w := b.workers[0]
	buf := make([]byte, 1<<16)
	now := b.Now()
	if n := testing.AllocsPerRun(5, func() {
		for range 100 {
			p := b.superpacket(buf, 40, 1200)
			w.superpacket(&p, now, true)
			_ = w.tx.out.Flush()
		}
	}); n != 0 {
		t.Errorf("receive and forward: %v allocations per 100 batches, want 0", n)
	}
	if want := 40 * 100 * 6; b.hop.n != want { // one run warms up
		t.Errorf("%d packets went on, want %d", b.hop.n, want)
	}
	tx := b.GetTx()
	defer b.PutTx(tx)
	if n := testing.AllocsPerRun(5, func() {
		for range 100 {
			tx.Start(b.out)
			for range 40 {
				clear(tx.Packet(1200))
			}
			_ = tx.Flush()
		}
	}); n != 0 {
		t.Errorf("send: %v allocations per 100 batches, want 0", n)
	}
	bad := b.superpacket(buf, 40, 1200)
	if n := testing.AllocsPerRun(5, func() {
		for range 100 { // all are replays: dropping is free as well
			w.superpacket(&bad, now, true)
		}
	}); n != 0 {
		t.Errorf("drop: %v allocations per 100 batches, want 0", n)
	}
}
