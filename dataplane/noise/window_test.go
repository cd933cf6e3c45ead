package noise

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// slowWindow is the obvious model: every counter ever accepted, in a map.
type slowWindow struct {
	seen     map[uint64]bool
	greatest uint64
}

func (s *slowWindow) accept(c uint64) bool {
	if c >= MaxCounter || s.seen[c] || (len(s.seen) > 0 && c+WindowSize <= s.greatest) {
		return false
	}
	s.seen[c] = true
	s.greatest = max(s.greatest, c)
	return true
}

func TestWindowAgainstModel(t *testing.T) {
	const seed = 20261122
	t.Logf("seed %d", seed)
	for run := range 20 {
		rng := rand.New(rand.NewPCG(seed, uint64(run)))
		var w Window
		model := slowWindow{seen: map[uint64]bool{}}
		next := rng.Uint64N(3 * WindowSize)
		for i := range 20_000 {
			c := next
			switch rng.IntN(12) {
			case 0: // a jump, now and then over the whole ring
				next += rng.Uint64N(3 * WindowSize)
			case 1: // as far as the edge, give or take
				c = next - min(next, WindowSize-2+rng.Uint64N(5))
			case 2: // a word's edge ahead
				next = next | 63 + rng.Uint64N(3)
			case 3, 4, 5: // late or duplicate
				c = next - min(next, rng.Uint64N(2*WindowSize))
			case 6: // near duplicate
				c = next - min(next, rng.Uint64N(4))
			default:
				next++
			}
			check := w.Check(c)
			want := model.accept(c)
			if got := w.Accept(c); got != want || check != want {
				t.Fatalf("run %d, step %d: Check(%d) = %v, Accept = %v, want %v", run, i, c, check, got, want)
			}
			if g, ok := w.Greatest(); ok && g != model.greatest {
				t.Fatalf("run %d, step %d: Greatest = %d, want %d", run, i, g, model.greatest)
			}
		}
	}
}

func TestWindowEdges(t *testing.T) {
	var w Window
	if _, ok := w.Greatest(); ok {
		t.Error("an empty window has a greatest counter")
	}
	steps := []struct {
		c    uint64
		want bool
	}{
		{0, true}, {0, false},
		{WindowSize - 1, true}, {0, false}, {1, true},
		{WindowSize, true}, {0, false}, // now too old
		{1, false}, {2, true},
		{MaxCounter, false}, {^uint64(0), false}, // must not move the head
		{WindowSize + 1, true},
		{MaxCounter - 1, true}, {MaxCounter - 1, false},
		{MaxCounter - WindowSize, true}, {MaxCounter - WindowSize - 1, false},
		{WindowSize + 2, false},
	}
	for i, s := range steps {
		if got := w.Accept(s.c); got != s.want {
			t.Fatalf("step %d: Accept(%d) = %v, want %v", i, s.c, got, s.want)
		}
	}
}

func TestWindowIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(Window{}); got != WindowSize/8+8 {
		t.Errorf("%d bytes, want %d", got, WindowSize/8+8)
	}
}

func BenchmarkWindow(b *testing.B) {
	var w Window
	var c uint64
	for b.Loop() {
		if w.Check(c) {
			w.Accept(c)
		}
		c++
	}
}
