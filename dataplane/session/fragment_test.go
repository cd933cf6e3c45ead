package session

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

func cut(id uint32, data []byte, size int) (fs []fragment) {
	for off := 0; off < len(data); off += size {
		end := min(off+size, len(data))
		fs = append(fs, fragment{id: id, offset: uint16(off), total: uint16(len(data)), piece: data[off:end]})
	}
	return fs
}

// TestReassemblyModel shuffles, repeats and loses pieces of many payloads. What
// comes out must be what went in, once, and only if every piece was given.
func TestReassemblyModel(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	var budget atomic.Int64
	a := reassembler{budget: &budget}
	for round := range 300 {
		var pieces []fragment
		want := make(map[uint32][]byte)
		whole := make(map[uint32]bool)
		for n := range 8 {
			id := uint32(round*8 + n)
			data := make([]byte, 2+rng.IntN(9000))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			want[id], whole[id] = data, true
			fs := cut(id, data, 1+rng.IntN(1200)+len(data)/maxPieces)
			if rng.IntN(4) == 0 {
				fs, whole[id] = fs[1:], false
			}
			pieces = append(pieces, fs...)
			if len(fs) > 1 { // one piece alone would be a second payload
				pieces = append(pieces, fs[0]) // once more
			}
		}
		rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		now := time.Duration(round) * 10 * time.Second
		for _, f := range pieces {
			got, _ := a.add(f, now)
			if got == nil {
				continue
			}
			if !whole[f.id] || !bytes.Equal(got, want[f.id]) {
				t.Fatalf("seed %d round %d: payload %d is wrong or incomplete", seed, round, f.id)
			}
			delete(want, f.id)
		}
		for id := range want {
			if whole[id] {
				t.Fatalf("seed %d round %d: payload %d did not come out", seed, round, id)
			}
		}
		a.expire(now + fragmentLife)
		if budget.Load() != 0 {
			t.Fatalf("seed %d round %d: %d bytes still counted after all expired", seed, round, budget.Load())
		}
	}
}

func TestReassemblyRefuses(t *testing.T) {
	data := make([]byte, 3000)
	first := fragment{id: 1, offset: 1000, total: 3000, piece: data[:1000]}
	tests := []struct {
		name string
		f    fragment
	}{
		{"the same again", first},
		{"overlap in front", fragment{id: 1, offset: 999, total: 3000, piece: data[:2]}},
		{"overlap behind", fragment{id: 1, offset: 1999, total: 3000, piece: data[:2]}},
		{"around it", fragment{id: 1, offset: 0, total: 3000, piece: data}},
		{"another total", fragment{id: 1, offset: 0, total: 2999, piece: data[:10]}},
	}
	for _, tt := range tests {
		var budget atomic.Int64
		a := reassembler{budget: &budget}
		if _, ok := a.add(first, 0); !ok {
			t.Fatal("first piece refused")
		}
		if _, ok := a.add(tt.f, 0); ok {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

func TestReassemblyIsBounded(t *testing.T) {
	var budget atomic.Int64
	piece := make([]byte, 1)
	a := reassembler{budget: &budget}
	for id := range uint32(1000) {
		a.add(fragment{id: id, total: 1000, piece: piece}, 0)
	}
	if len(a.open) != maxOpen {
		t.Errorf("%d payloads open, want %d", len(a.open), maxOpen)
	}
	if _, ok := a.add(fragment{id: 5000, total: 60000, piece: piece}, fragmentLife); !ok {
		t.Error("old payloads do not make room")
	}
	greedy := reassembler{budget: &budget}
	for id := range uint32(maxOpen) {
		greedy.add(fragment{id: id, total: 60000, piece: piece}, 0)
	}
	if greedy.held > reassemblyShare || greedy.held < reassemblyShare/2 {
		t.Errorf("one session pins %d bytes, its share is %d", greedy.held, reassemblyShare)
	}
	greedy.close()
	if greedy.held != 0 {
		t.Errorf("%d bytes held after close", greedy.held)
	}
	many := make([]reassembler, 100)
	for i := range many {
		many[i].budget = &budget
		for id := range uint32(maxOpen) {
			many[i].add(fragment{id: id, total: 60000, piece: piece}, 0)
		}
	}
	if got := budget.Load(); got > reassemblyMax {
		t.Errorf("%d bytes pinned by all sessions, limit %d", got, reassemblyMax)
	}
	for i := range many {
		many[i].close()
	}
	a.close()
	if got := budget.Load(); got != 0 {
		t.Errorf("%d bytes counted after close", got)
	}
	tiny := reassembler{budget: &budget}
	for i := range maxPieces {
		tiny.add(fragment{id: 1, offset: uint16(2 * i), total: 60000, piece: piece}, 0)
	}
	if _, ok := tiny.add(fragment{id: 1, offset: 59999, total: 60000, piece: piece}, 0); ok {
		t.Errorf("more than %d pieces of a payload accepted", maxPieces)
	}
}
