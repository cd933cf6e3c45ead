//go:build dpdebug

package packet

import "testing"

func TestFreePoisons(t *testing.T) {
	b, s := new(Buf), new(Small)
	b.guard.acquire(b.B[:])
	s.guard.acquire(s.B[:])
	b.guard.release(b.B[:])
	s.guard.release(s.B[:])
	for _, c := range [...]byte{b.B[0], b.B[BufCap-1], s.B[0], s.B[SmallCap-1]} {
		if c != poison {
			t.Errorf("a freed byte is %#x, want %#x", c, poison)
		}
	}
}

func TestMisusePanics(t *testing.T) {
	tests := []struct {
		name string
		use  func()
	}{
		{"buf freed twice", func() { b := GetBuf(); b.Free(); b.Free() }},
		{"small freed twice", func() { s := GetSmall(); s.Free(); s.Free() }},
		{"freed but never got", func() { new(Buf).Free() }},
		// On the slab itself: the pool may hand out another one.
		{"written after free", func() {
			s := new(Small)
			s.guard.acquire(s.B[:])
			s.guard.release(s.B[:])
			s.B[7] = 1
			s.guard.acquire(s.B[:])
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.use()
		})
	}
}
