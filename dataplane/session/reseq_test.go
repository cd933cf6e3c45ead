package session

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// A reseqRig feeds a resequencer and keeps what comes out.
type reseqRig struct {
	resequencer
	all atomic.Int64
	out []uint32
}

func newReseqRig(live int) *reseqRig {
	g := &reseqRig{}
	g.budget, g.hold, g.live = &g.all, 50*time.Millisecond, live
	return g
}

func (g *reseqRig) bring(now time.Duration, route uint64, seq uint32, size int) {
	b := make([]byte, max(size, 4))
	binary.BigEndian.PutUint32(b, seq)
	if g.add(now, route, seq, b) {
		g.out = append(g.out, seq)
	}
	g.look(now)
}

func (g *reseqRig) look(now time.Duration) {
	for b, ok := g.next(now); ok; b, ok = g.next(now) {
		g.out = append(g.out, binary.BigEndian.Uint32(b))
	}
	g.free()
}

func TestResequencer(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		at    time.Duration
		route uint64 // 0: only the clock moves on
		seq   uint32
	}
	const wrap = 1<<32 - 2
	tests := []struct {
		name  string
		steps []step
		want  []uint32
	}{
		{"in order", []step{{0, 1, 5}, {0, 2, 6}, {0, 1, 7}}, []uint32{5, 6, 7}},
		{"over the end of the numbers", []step{{0, 1, wrap}, {0, 1, wrap + 1}, {0, 1, 1}, {0, 2, 0}}, []uint32{wrap, wrap + 1, 0, 1}},
		{"early ones wait", []step{{0, 1, 5}, {0, 1, 7}, {0, 1, 8}, {0, 2, 6}}, []uint32{5, 6, 7, 8}},
		{"but not for ever", []step{{0, 1, 5}, {0, 1, 7}, {49 * ms, 0, 0}, {50 * ms, 0, 0}, {51 * ms, 2, 6}}, []uint32{5, 7, 6}},
		{"not even one after the other", []step{{0, 1, 5}, {0, 1, 7}, {10 * ms, 1, 9}, {20 * ms, 1, 11}, {50 * ms, 0, 0}, {60 * ms, 0, 0}}, []uint32{5, 7, 9}},
		{"what all routes have overtaken is lost", []step{{0, 1, 5}, {0, 1, 7}, {0, 2, 8}}, []uint32{5, 7, 8}},
		{"one more route may bring it", []step{{0, 1, 5}, {0, 1, 7}, {0, 1, 8}}, []uint32{5}},
		{"the oldest first, whatever its number", []step{{0, 1, 5}, {0, 1, 9}, {40 * ms, 1, 7}, {50 * ms, 0, 0}}, []uint32{5, 7, 9}},
		{"a route that brings nothing is not waited for", []step{{0, 1, 5}, {0, 2, 6}, {0, 3, 7}, {3 * time.Second, 1, 9}, {3 * time.Second, 2, 10}}, []uint32{5, 6, 7, 9, 10}},
		{"late ones pass", []step{{0, 1, 5}, {0, 1, 4}, {0, 1, 6}}, []uint32{5, 4, 6}},
		{"a jump", []step{{0, 1, 5}, {0, 1, 7}, {0, 1, 7 + 2*reseqSlots}, {0, 1, 8 + 2*reseqSlots}}, []uint32{5, 7 + 2*reseqSlots, 7, 8 + 2*reseqSlots}},
		{"a number twice", []step{{0, 1, 5}, {0, 1, 7}, {0, 1, 7}, {0, 2, 6}}, []uint32{5, 7, 6, 7}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newReseqRig(2)
			for _, s := range tt.steps {
				if s.route == 0 {
					g.look(s.at)
				} else {
					g.bring(s.at, s.route, s.seq, 0)
				}
			}
			if !slices.Equal(g.out, tt.want) {
				t.Errorf("got %v, want %v", g.out, tt.want)
			}
			g.close()
			if g.all.Load() != 0 {
				t.Errorf("%d bytes are held after close", g.all.Load())
			}
		})
	}
}

// TestResequencerBeginsAnew: a peer that has restarted counts from elsewhere.
func TestResequencerBeginsAnew(t *testing.T) {
	g := newReseqRig(2)
	g.bring(0, 1, 1<<31, 0)
	for i := range uint32(2 * reseqOld) {
		g.bring(0, 1, 1<<30+i, 0)
	}
	if n := len(g.out); n != 1+2*reseqOld {
		t.Fatalf("%d packets passed, want all", n)
	}
	g.bring(0, 1, 1<<30+2*reseqOld+1, 0) // early now
	g.bring(0, 1, 1<<30+2*reseqOld, 0)
	if !slices.IsSorted(g.out[1:]) || len(g.out) != 3+2*reseqOld {
		t.Errorf("the new count is not followed: %v", g.out[len(g.out)-4:])
	}
}

// TestResequencerModel: whatever comes in whatever order, everything that comes goes out
// once, nothing waits for longer than hold, memory is bounded, and nothing is out of order
// that came within hold.
func TestResequencerModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		g := newReseqRig(3)
		first := rng.Uint32()
		type parcel struct {
			at    time.Duration
			route uint64
			seq   uint32
		}
		var parcels []parcel
		last := [4]time.Duration{}
		reach := time.Duration(20+40*int(seed%2)) * time.Millisecond // beyond hold in every other run
		for i := range uint32(3000) {
			route := 1 + rng.Uint64N(3)
			at := time.Duration(i)*100*time.Microsecond + time.Duration(route)*reach/3
			at = max(at, last[route])
			last[route] = at
			if i > 0 && rng.IntN(50) == 0 {
				continue // lost
			}
			parcels = append(parcels, parcel{at, route, first + i})
		}
		slices.SortStableFunc(parcels, func(a, b parcel) int { return int(a.at - b.at) })
		came := make(map[uint32]time.Duration)
		passed := 0
		check := func(now time.Duration) {
			for ; passed < len(g.out); passed++ {
				if now-came[g.out[passed]] > g.hold {
					t.Fatalf("seed %d: packet %d waited for %v", seed, g.out[passed]-first, now-came[g.out[passed]])
				}
			}
		}
		for _, p := range parcels {
			for at, ok := g.deadline(); ok && at <= p.at; at, ok = g.deadline() {
				g.look(at)
				check(at)
			}
			came[p.seq] = p.at
			g.bring(p.at, p.route, p.seq, int(p.seq%2)*1000)
			check(p.at)
		}
		for at, ok := g.deadline(); ok; at, ok = g.deadline() {
			g.look(at)
			check(at)
		}
		if len(g.out) != len(parcels) || g.all.Load() != 0 || g.count != 0 {
			t.Fatalf("seed %d: %d of %d packets came out, %d bytes held", seed, len(g.out), len(parcels), g.all.Load())
		}
		if reach < g.hold {
			for i := 1; i < len(g.out); i++ {
				if int32(g.out[i]-g.out[i-1]) < 0 && int32(g.out[i]-parcels[0].seq) > 0 {
					t.Fatalf("seed %d: %d after %d", seed, g.out[i]-first, g.out[i-1]-first)
				}
			}
		}
	}
}

// TestResequencerBounds: a peer that leaves a gap and sends on and on pins no more than it
// may, of its own share and of what there is for all.
func TestResequencerBounds(t *testing.T) {
	g := newReseqRig(2)
	g.bring(0, 1, 0, 0)
	for i := range uint32(3 * reseqSlots) {
		g.bring(0, 1, 2+i, packet.SmallCap+1)
		if g.held > reseqMost {
			t.Fatalf("%d bytes held after %d packets", g.held, i)
		}
	}
	g.close()

	g = newReseqRig(2)
	others := int64(reseqAll)
	g.all.Add(others) // others have taken all
	g.bring(0, 1, 0, 0)
	for i := range uint32(1000) {
		g.bring(0, 1, 2+i, packet.SmallCap)
		if g.held > reseqShare {
			t.Fatalf("%d bytes held", g.held)
		}
	}
	if g.held == 0 {
		t.Error("not even its share")
	}
	g.close()
	if g.all.Load() != others {
		t.Errorf("%d bytes of the budget are gone", g.all.Load()-others)
	}
}

func TestResequencerDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	g := newReseqRig(2)
	b := make([]byte, 1300)
	seq, now := uint32(0), time.Duration(0)
	round := func() {
		for range 1000 { // each second packet comes 20 places late
			now += time.Microsecond
			for _, p := range [2]struct {
				route uint64
				seq   uint32
			}{{1, seq + 20}, {2, seq + 1}} {
				g.add(now, p.route, p.seq, b)
				for _, ok := g.next(now); ok; _, ok = g.next(now) {
				}
				g.free()
			}
			seq += 2
		}
	}
	round()
	if n := testing.AllocsPerRun(5, round); n > 10 {
		t.Errorf("%v allocations for 2000 packets", n)
	}
}

func FuzzResequencer(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 5, 0, 1, 0, 0, 0, 7, 0, 2, 0, 0, 0, 6, 0})
	f.Add([]byte{1, 0, 0, 0, 5, 0, 1, 0x40, 0, 0, 7, 90, 2, 0, 0, 0, 6, 200})
	f.Add([]byte{1, 0, 0, 0, 5, 0, 1, 0, 0, 0x0f, 0xff, 0, 1, 0x80, 0, 0, 0, 1, 1, 0, 0, 0x10, 0x10, 0})
	f.Add([]byte("0\x00\x00\x00000\xdf00000\x00\x00\x0500")) // a late one, and one that waits for longer therefore
	f.Fuzz(func(t *testing.T, script []byte) {
		g := newReseqRig(2)
		now := time.Duration(0)
		in := 0
		for ; len(script) >= 6; script = script[6:] {
			now += time.Duration(script[5]) * time.Millisecond
			if at, ok := g.deadline(); ok && at <= now {
				g.look(now)
			}
			g.bring(now, uint64(script[0]%4)+1, binary.BigEndian.Uint32(script[1:]), int(script[5])*20)
			in++
		}
		g.look(now + g.hold + extraMost)
		if len(g.out) != in || g.count != 0 || g.all.Load() != 0 {
			t.Fatalf("%d packets in, %d out, %d wait, %d bytes held", in, len(g.out), g.count, g.all.Load())
		}
	})
}
