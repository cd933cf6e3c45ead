package link

import (
	"net/netip"
	"testing"
)

// TestAcceptGate: who has to go when all places are taken.
func TestAcceptGate(t *testing.T) {
	g := newAcceptGate()
	var gone []int
	entered := 0
	enter := func(a netip.Addr) (leave func(), crowded bool) {
		i := entered
		entered++
		return g.enter(a, func() { gone = append(gone, i) })
	}
	v6 := func(i int) netip.Addr { // one /64
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i)})
	}
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	var leave []func()
	for i := range maxAcceptedPerAddr {
		l, crowded := enter(v6(i))
		if crowded {
			t.Fatalf("no place for connection %d", i)
		}
		leave = append(leave, l)
	}
	if _, crowded := enter(v6(99)); !crowded || len(gone) != 1 || gone[0] != 0 {
		t.Fatalf("one more from the /64: %v went, want its oldest, 0", gone)
	}
	for g.n < maxAccepted-1 {
		if _, crowded := enter(v4(entered / 15)); crowded {
			t.Fatalf("no place for connection %d", entered)
		}
	}
	if _, crowded := enter(v4(200)); crowded {
		t.Fatal("no place for the last")
	}
	if _, crowded := enter(v4(201)); !crowded || len(gone) != 2 || gone[1] != 1 {
		t.Fatalf("one more from elsewhere: %v went, want the oldest of the /64, 1", gone)
	}
	leave[0]() // it has gone
	leave[2]()
	leave[2]() // counts once
	if g.n != maxAccepted-1 {
		t.Fatalf("%d places are taken, want %d", g.n, maxAccepted-1)
	}
	if _, crowded := enter(v4(202)); crowded {
		t.Error("a place given back is not free")
	}
	if _, crowded := enter(v4(203)); !crowded {
		t.Error("a place given back twice is free twice")
	}
	total := 0
	for _, of := range g.waiting {
		total += len(of)
	}
	if total != g.n || g.n != maxAccepted {
		t.Errorf("%d connections wait, counted as %d, want %d", total, g.n, maxAccepted)
	}
}
