package noise

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"testing"
)

func TestOpenRefusesDamage(t *testing.T) {
	key := [32]byte{1}
	s, r := NewSendKey(key), NewRecvKey(key)
	var n Nonce
	ad := []byte("header")
	sealed := s.Seal(nil, []byte("some plaintext"), ad, &n, 3, 4)
	open := func(c, ad []byte, prefix uint32, counter uint64) error {
		_, err := r.Open(nil, c, ad, &n, prefix, counter)
		return err
	}
	if err := open(sealed, ad, 3, 4); err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(sealed) {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if err := open(bad, ad, 3, 4); err != ErrAuth {
			t.Fatalf("bit %d: %v, want %v itself", i, err, ErrAuth)
		}
	}
	for i := range sealed {
		if err := open(sealed[:i], ad, 3, 4); err != ErrAuth {
			t.Fatalf("%d bytes: %v, want %v itself", i, err, ErrAuth)
		}
	}
	for name, err := range map[string]error{
		"another prefix":  open(sealed, ad, 2, 4),
		"another counter": open(sealed, ad, 3, 5),
		"another header":  open(sealed, []byte("Header"), 3, 4),
		"no header":       open(sealed, nil, 3, 4),
	} {
		if err != ErrAuth {
			t.Errorf("%s: %v, want %v itself", name, err, ErrAuth)
		}
	}
}

func TestSealAndOpenInPlaceDoNotAllocate(t *testing.T) {
	key := [32]byte{1}
	s, r := NewSendKey(key), NewRecvKey(key)
	var (
		n   Nonce
		w   Window
		ad  [16]byte
		buf = make([]byte, 1400, 1400+TagLen)
		bad = make([]byte, 100)
	)
	allocs := testing.AllocsPerRun(5, func() {
		for range 100 { // AllocsPerRun floors its mean, so do 100 per run
			first, err := s.Reserve(1)
			if err != nil {
				t.Fatal(err)
			}
			sealed := s.Seal(buf[:0], buf, ad[:], &n, 0, first)
			if &sealed[0] != &buf[0] {
				t.Fatal("not sealed in place")
			}
			if !w.Check(first) {
				t.Fatal("fresh counter refused")
			}
			if _, err := r.Open(sealed[:0], sealed, ad[:], &n, 0, first); err != nil {
				t.Fatal(err)
			}
			w.Accept(first)
			if _, err := r.Open(bad[:0], bad, ad[:], &n, 0, first); err == nil {
				t.Fatal("zeros were opened")
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations per 100 packets, want 0", allocs)
	}
}

func TestCounterLimits(t *testing.T) {
	var c Counter
	for _, n := range []int{0, -1, math.MinInt, MaxReserve + 1, math.MaxInt} {
		if _, err := c.Reserve(n); !errors.Is(err, ErrReserve) {
			t.Errorf("Reserve(%d): %v, want %v", n, err, ErrReserve)
		}
	}
	if first, err := c.Reserve(3); err != nil || first != 0 {
		t.Errorf("first Reserve = %d, %v, want 0", first, err)
	}
	if first, err := c.Reserve(MaxReserve); err != nil || first != 3 {
		t.Errorf("second Reserve = %d, %v, want 3", first, err)
	}
	c.next.Store(MaxCounter - 10)
	if first, err := c.Reserve(10); err != nil || first != MaxCounter-10 {
		t.Errorf("the last ten = %d, %v", first, err)
	}
	for range 3 {
		if _, err := c.Reserve(1); !errors.Is(err, ErrExhausted) {
			t.Errorf("after the last: %v, want %v", err, ErrExhausted)
		}
	}
	if c.next.Load() != MaxCounter || c.Used() != MaxCounter {
		t.Errorf("refused calls moved the counter to %d", c.next.Load())
	}
	c.next.Store(MaxCounter - 10) // a batch that does not fit gets nothing
	if _, err := c.Reserve(11); !errors.Is(err, ErrExhausted) {
		t.Errorf("eleven of ten: %v, want %v", err, ErrExhausted)
	}
}

func TestReserveIsUnique(t *testing.T) {
	const workers, calls, n = 8, 500, 7
	var (
		c    Counter
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen = make(map[uint64]bool, workers*calls*n)
	)
	for range workers {
		wg.Go(func() {
			for range calls {
				first, err := c.Reserve(n)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i := range uint64(n) {
					if seen[first+i] {
						t.Errorf("counter %d was given out twice", first+i)
					}
					seen[first+i] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != workers*calls*n || c.Used() != workers*calls*n {
		t.Errorf("%d numbers, Used %d, want %d", len(seen), c.Used(), workers*calls*n)
	}
}

func BenchmarkSeal1400(b *testing.B) {
	s := NewSendKey([32]byte{1})
	var n Nonce
	buf := make([]byte, 1400, 1400+TagLen)
	b.SetBytes(1400)
	b.ReportAllocs()
	for b.Loop() {
		c, _ := s.Reserve(1)
		s.Seal(buf[:0], buf, nil, &n, 0, c)
	}
}
