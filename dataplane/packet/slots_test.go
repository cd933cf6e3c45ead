package packet

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestSlotsModel runs the table against a map.
func TestSlotsModel(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, seed))
	var s Slots[int]
	model := map[int]*int{}
	for range 20000 {
		i := r.IntN(1 << r.IntN(SlotBits+1))
		switch r.IntN(3) {
		case 0:
			v := r.Int()
			s.Store(i, &v)
			model[i] = &v
		case 1:
			s.Store(i, nil)
			delete(model, i)
		}
		if got := s.Load(i); got != model[i] {
			t.Fatalf("seed %d: Load(%d) = %p, want %p", seed, i, got, model[i])
		}
	}
	for i, want := range model {
		if s.Load(i) != want {
			t.Errorf("Load(%d) lost its entry", i)
		}
	}
	if s.Load(-1) != nil || s.Load(1<<SlotBits) != nil {
		t.Error("Load out of range is not nil")
	}
}

// TestSlotsConcurrent grows the table while others read it: for the race
// detector, and for readers never to see a lost entry.
func TestSlotsConcurrent(t *testing.T) {
	var s Slots[int]
	one := 1
	s.Store(5, &one)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10000 {
				if s.Load(5) != &one {
					t.Error("entry 5 lost")
					return
				}
			}
		})
	}
	for i := 300; i < 1<<SlotBits; i += 9999 {
		v := i
		s.Store(i, &v)
	}
	wg.Wait()
}
