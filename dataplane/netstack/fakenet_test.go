package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

// fakeSegment is how much data the fake session puts in one packet: not gVisor's
// MSS, as on a real route.
const fakeSegment = 1364

// errNoRoute is the fake network's typed error.
var errNoRoute = errors.New("fakenet: no route")

// A fault says what a wire does to packets.
type fault struct {
	seed               uint64
	loss, dup, reorder float64
	queue              int           // bytes that may wait; 0 is 8 MiB
	delay              time.Duration // one way
	bytesPerSec        float64       // 0 is unlimited; else queue is what waits for it
	chunk              int           // packets per burst; 0 is 64
}

// A pair is two stacks joined by two wires.
//
//	a ── ab ──▶ b
//	  ◀── ba ──
type pair struct {
	a, b   *Stack
	ab, ba *wire
}

func newPair(tb testing.TB, f fault) *pair {
	tb.Helper()
	return newPairBudget(tb, f, 1<<30)
}

func newPairBudget(tb testing.TB, f fault, budget int64) *pair {
	tb.Helper()
	pka, _ := cipher.GenerateKeyPair()
	pkb, _ := cipher.GenerateKeyPair()
	ab, ba := newWire(f), newWire(f)
	na := &fakeNetwork{peers: map[[16]byte]*fakePeer{}}
	nb := &fakeNetwork{peers: map[[16]byte]*fakePeer{}}
	na.add(&fakePeer{pk: pkb, out: ab})
	nb.add(&fakePeer{pk: pka, out: ba})
	newStack := func(n *fakeNetwork, pk cipher.PubKey) *Stack {
		s, err := New(Config{Network: n, PubKey: pk, Budget: budget, Log: zerolog.Nop()})
		if err != nil {
			tb.Fatal(err)
		}
		return s
	}
	p := &pair{a: newStack(na, pka), b: newStack(nb, pkb), ab: ab, ba: ba}
	ab.start(p.b, nb.byKey(pka))
	ba.start(p.a, na.byKey(pkb))
	tb.Cleanup(func() {
		p.a.Close()
		p.b.Close()
		ab.stop()
		ba.stop()
	})
	return p
}

type fakeNetwork struct {
	mu    sync.RWMutex
	peers map[[16]byte]*fakePeer
}

func (n *fakeNetwork) add(p *fakePeer) {
	n.mu.Lock()
	n.peers[p.pk.ClassAddr(p.class).As16()] = p
	n.mu.Unlock()
}

func (n *fakeNetwork) remove(pk cipher.PubKey) {
	n.mu.Lock()
	delete(n.peers, pk.OverlayAddr().As16())
	n.mu.Unlock()
}

func (n *fakeNetwork) byKey(pk cipher.PubKey) Peer {
	p, _ := n.Lookup(pk.OverlayAddr().As16())
	return p
}

func (n *fakeNetwork) DialClass(_ context.Context, pk cipher.PubKey, class uint32) (Peer, error) {
	if p, ok := n.Lookup(pk.ClassAddr(class).As16()); ok {
		return p, nil
	}
	return nil, errNoRoute
}

func (n *fakeNetwork) Lookup(overlay [16]byte) (Peer, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	p, ok := n.peers[overlay]
	return p, ok
}

type fakePeer struct {
	pk     cipher.PubKey
	class  uint32
	out    *wire
	spread atomic.Pointer[paths] // nil: over one path
}

func (p *fakePeer) PubKey() cipher.PubKey { return p.pk }
func (p *fakePeer) Class() uint32         { return p.class }

func (p *fakePeer) SendTCP(hdr []byte, payload [][]byte) error {
	p.out.sendTCP(hdr, payload)
	return nil
}

func (p *fakePeer) SendPacket(proto uint8, hdr, payload []byte) error {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	b := p.out.reserve(proto, len(hdr)+len(payload))
	copy(b[copy(b, hdr):], payload)
	return nil
}

// A wire carries packets one way: senders copy them into a slab, a goroutine takes
// slab after slab and delivers it in bursts.
type wire struct {
	fault
	mu    sync.Mutex
	cond  *sync.Cond
	rng   *rand.Rand
	slab  []byte    // all packets that wait
	pkts  []wirePkt // in the order of delivery
	spare []byte
	done  bool
	ended sync.WaitGroup
	free  time.Time // when all packets so far have left the bottleneck
	cut   bool      // drops everything
	lost  int
	sent  int
}

type wirePkt struct {
	off, n int
	proto  uint8
	due    time.Time
}

func newWire(f fault) *wire {
	if f.queue == 0 {
		f.queue = 8 << 20
	}
	if f.chunk == 0 {
		f.chunk = 64
	}
	w := &wire{fault: f, rng: rand.New(rand.NewPCG(f.seed, 1))}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// sendTCP does what a session does: cut to packets that fit, with sequence number
// and flags put right.
func (w *wire) sendTCP(hdr []byte, payload [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := 0
	for _, p := range payload {
		total += len(p)
	}
	seq, flags := binary.BigEndian.Uint32(hdr[4:]), hdr[13]
	for off := 0; ; {
		n := min(total-off, fakeSegment)
		b := w.reserve(packet.ProtoTCP, len(hdr)+n)
		copy(b, hdr)
		binary.BigEndian.PutUint32(b[4:], seq+uint32(off))
		if off+n < total {
			b[13] = flags &^ (flagPSH | flagFIN)
		}
		for data := b[len(hdr):]; len(data) > 0; {
			for len(payload[0]) == 0 {
				payload = payload[1:]
			}
			k := copy(data, payload[0])
			data, payload[0] = data[k:], payload[0][k:]
		}
		if off += n; off >= total {
			return
		}
	}
}

// reserve returns room for one packet, which may be lost, doubled or come later.
func (w *wire) reserve(proto uint8, n int) []byte {
	w.sent++
	due, room := w.admit(n)
	if !room || w.cut || w.loss > 0 && w.rng.Float64() < w.loss {
		w.lost++
		return make([]byte, n)
	}
	off := len(w.slab)
	w.slab = append(w.slab, make([]byte, n)...)
	p := wirePkt{off: off, n: n, proto: proto, due: due}
	w.pkts = append(w.pkts, p)
	if w.dup > 0 && w.rng.Float64() < w.dup {
		w.pkts = append(w.pkts, p)
	}
	if k := len(w.pkts) - 1; w.reorder > 0 && w.rng.Float64() < w.reorder {
		j := max(0, k-1-w.rng.IntN(8))
		w.pkts[k], w.pkts[j] = w.pkts[j], w.pkts[k]
	}
	w.cond.Signal()
	return w.slab[off : off+n : off+n]
}

// admit passes n bytes through the bottleneck: it returns when they are due at the
// far end, and false if the queue in front of it is full.
func (w *wire) admit(n int) (due time.Time, ok bool) {
	if w.bytesPerSec == 0 {
		if w.delay > 0 {
			due = time.Now().Add(w.delay)
		}
		return due, len(w.slab)+n <= w.queue
	}
	now := time.Now()
	if w.free.Before(now) {
		w.free = now
	}
	if waiting := w.free.Sub(now).Seconds() * w.bytesPerSec; int(waiting)+n > w.queue {
		return due, false
	}
	w.free = w.free.Add(time.Duration(float64(n) / w.bytesPerSec * 1e9))
	return w.free.Add(w.delay), true
}

func (w *wire) setCut(cut bool) {
	w.mu.Lock()
	w.cut = cut
	w.mu.Unlock()
}

func (w *wire) start(to *Stack, from Peer) {
	w.ended.Go(func() {
		var pkts []wirePkt
		var burst [][]byte
		for {
			w.mu.Lock()
			for len(w.pkts) == 0 && !w.done {
				w.cond.Wait()
			}
			if w.done {
				w.mu.Unlock()
				return
			}
			slab := w.slab
			w.slab = w.spare[:0]
			pkts, w.pkts = w.pkts, pkts[:0]
			w.mu.Unlock()
			for i := 0; i < len(pkts); {
				var now time.Time
				if !pkts[i].due.IsZero() {
					time.Sleep(time.Until(pkts[i].due)) // the wire's delay itself, not a synchronisation
					now = time.Now()
				}
				burst = burst[:0]
				proto := pkts[i].proto
				for i < len(pkts) && len(burst) < w.chunk && pkts[i].proto == proto && !pkts[i].due.After(now) {
					burst = append(burst, slab[pkts[i].off:pkts[i].off+pkts[i].n])
					i++
				}
				to.Deliver(from, proto, burst)
			}
			w.mu.Lock()
			w.spare = slab
			w.mu.Unlock()
		}
	})
}

func (w *wire) stop() {
	w.mu.Lock()
	w.done = true
	w.cond.Signal()
	w.mu.Unlock()
	w.ended.Wait()
}

// packets returns how many have been given to the wire.
func (w *wire) packets() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}
