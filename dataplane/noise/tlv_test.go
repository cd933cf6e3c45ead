package noise

import (
	"bytes"
	"errors"
	"testing"
)

func TestTLVs(t *testing.T) {
	b := AppendTLV(nil, 1, []byte("one"))
	b = AppendTLV(b, 200, nil)
	b = AppendTLV(b, 1, bytes.Repeat([]byte{9}, 300))
	if want := []byte{1, 0, 3, 'o', 'n', 'e', 200, 0, 0, 1, 1, 44, 9}; !bytes.HasPrefix(b, want) {
		t.Fatalf("bytes %x, want %x…", b[:13], want)
	}
	var types []uint8
	var lengths []int
	err := WalkTLVs(b, func(typ uint8, value []byte) error {
		types, lengths = append(types, typ), append(lengths, len(value))
		if cap(value) != len(value) {
			t.Errorf("field %d can grow into the next", typ)
		}
		return nil
	})
	if err != nil || !bytes.Equal(types, []byte{1, 200, 1}) || lengths[0] != 3 || lengths[1] != 0 || lengths[2] != 300 {
		t.Errorf("types %v, lengths %v, %v", types, lengths, err)
	}
	whole := map[int]bool{0: true, 6: true, 9: true, len(b): true}
	for n := range len(b) + 1 {
		calls := 0
		err := WalkTLVs(b[:n], func(uint8, []byte) error { calls++; return nil })
		if whole[n] != (err == nil) || (err != nil && (!errors.Is(err, ErrTLV) || calls != 0)) {
			t.Errorf("%d bytes: %v after %d calls", n, err, calls)
		}
	}
	stop := errors.New("stop")
	calls := 0
	if err := WalkTLVs(b, func(uint8, []byte) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("a failing field: %v after %d calls", err, calls)
	}
	if _, _, _, err := NextTLV(nil); !errors.Is(err, ErrTLV) {
		t.Errorf("NextTLV of nothing: %v", err)
	}
}

func TestAppendTLVTooLong(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	AppendTLV(nil, 1, make([]byte, 1<<16))
}

func FuzzTLVs(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendTLV(AppendTLV(nil, 1, []byte("a")), 2, nil))
	f.Add([]byte{1, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := WalkTLVs(b, func(typ uint8, value []byte) error {
			again = AppendTLV(again, typ, value)
			return nil
		})
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x was walked as %x", b, again)
		}
		if err != nil && again != nil {
			t.Fatalf("%x: %v after the first field", b, err)
		}
	})
}
