package packet

import (
	"testing"
	"unsafe"
)

func TestSlabSizes(t *testing.T) {
	b, s := GetBuf(), GetSmall()
	defer b.Free()
	defer s.Free()
	if got := len(b.B); got < 64<<10+64 {
		t.Errorf("Buf holds %d bytes: no room for a header and a tag beside 64 KiB", got)
	}
	if got := len(s.B); got < 1500 {
		t.Errorf("Small holds %d bytes: less than an Ethernet frame", got)
	}
	if Debug {
		return
	}
	// The guard must cost nothing when it is off.
	if got, want := unsafe.Sizeof(*b), uintptr(BufCap); got != want {
		t.Errorf("a Buf takes %d bytes, want %d", got, want)
	}
	if got, want := unsafe.Sizeof(*s), uintptr(SmallCap); got != want {
		t.Errorf("a Small takes %d bytes, want %d", got, want)
	}
}

func TestLiveSlabsAreDistinct(t *testing.T) {
	a, b := GetSmall(), GetSmall()
	a.B[0], b.B[0] = 1, 2
	if a == b || a.B[0] != 1 {
		t.Error("two owners share one slab")
	}
	a.Free()
	b.Free()
}

func TestGetFreeDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		return // sync.Pool drops items at random under the race detector
	}
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			b, s := GetBuf(), GetSmall()
			b.Free()
			s.Free()
		}
	}); n != 0 {
		t.Errorf("%v allocations per 100 calls, want 0", n)
	}
}

// sink keeps the benchmark's work alive.
var sink byte

func BenchmarkGetFree(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s := GetBuf()
		sink = s.B[0]
		s.Free()
	}
}
