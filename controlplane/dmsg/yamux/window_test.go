package yamux

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWindowGrows runs transfers over simulated paths and looks how wide the window
// got: wide where credit is what holds the sender up, and nowhere else.
func TestWindowGrows(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name   string
		delay  time.Duration // one way
		rate   float64       // bytes per second of the path
		size   int           // bytes sent
		write  int           // bytes at a time
		every  time.Duration // pause between writes
		slow   time.Duration // pause of the reader per MiB
		budget int64

		minRate float64 // bytes per second, start-up included
		window  [2]int64
	}{
		{name: "far and fast", delay: 50 * time.Millisecond, rate: 125e6, size: 192 * mib, write: 64 << 10,
			budget: 256 * mib, minRate: 80e6, window: [2]int64{8 * mib, 32 * mib}},
		{name: "far and fast, no budget", delay: 50 * time.Millisecond, rate: 125e6, size: 8 * mib, write: 64 << 10,
			minRate: 2.5e6, window: [2]int64{InitialWindow, InitialWindow}},
		{name: "far and fast, small budget", delay: 50 * time.Millisecond, rate: 125e6, size: 16 * mib, write: 64 << 10,
			budget: mib, minRate: 5e6, window: [2]int64{mib * 3 / 4, mib + InitialWindow}},
		{name: "far and slow", delay: 50 * time.Millisecond, rate: 1e6, size: 8 * mib, write: 64 << 10,
			budget: 256 * mib, minRate: 0.9e6, window: [2]int64{InitialWindow, 2 * InitialWindow}},
		{name: "slow reader", delay: 50 * time.Millisecond, rate: 125e6, size: 8 * mib, write: 64 << 10,
			slow: time.Second, budget: 256 * mib, minRate: 0.9e6, window: [2]int64{InitialWindow, InitialWindow}},
		{name: "writer with little to say", delay: 50 * time.Millisecond, rate: 125e6, size: 4 * mib, write: 10000,
			every: 10 * time.Millisecond, budget: 256 * mib, minRate: 0.9e6, window: [2]int64{InitialWindow, InitialWindow}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				budget := NewBudget(tt.budget)
				x, y := simPair(tt.delay, tt.rate)
				c, s := start(t, x, Config{Client: true}), start(t, y, Config{Budget: budget})
				a, b := streams(t, c, s)
				begin := time.Now()
				go func() {
					for left := tt.size; left > 0; left -= tt.write {
						if _, err := a.Write(make([]byte, min(left, tt.write))); err != nil {
							t.Errorf("write: %v", err)
							return
						}
						time.Sleep(tt.every)
					}
					a.CloseWrite()
				}()
				p := make([]byte, 128<<10)
				got := 0
				for {
					n, err := b.Read(p)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got += n
					time.Sleep(tt.slow * time.Duration(n) / mib)
				}
				took := time.Since(begin)
				rate := float64(got) / took.Seconds()
				t.Logf("%d bytes in %v: %.1f MB/s, window %d", got, took, rate/1e6, b.win.size)
				if got != tt.size {
					t.Errorf("got %d bytes of %d", got, tt.size)
				}
				if rate < tt.minRate {
					t.Errorf("%.1f MB/s, want %.1f", rate/1e6, tt.minRate/1e6)
				}
				if w := b.win.size; w < tt.window[0] || w > tt.window[1] {
					t.Errorf("window of %d bytes, want %d to %d", w, tt.window[0], tt.window[1])
				}
				if taken := tt.budget - budget.Left(); taken != b.win.extra {
					t.Errorf("%d bytes taken from the budget, the stream has %d", taken, b.win.extra)
				}
				a.Close()
				b.Close()
				synctest.Wait()
				time.Sleep(tt.delay * 4)
				if left := budget.Left(); left != tt.budget {
					t.Errorf("%d of %d bytes back in the budget", left, tt.budget)
				}
				c.Close()
				s.Close()
			})
		})
	}
}

// TestBudgetShared: a stream that comes late gets its share of a budget that another
// has taken.
func TestBudgetShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 2 << 20
		budget := NewBudget(total)
		var streamOf [2]*Stream
		extra := func(b *Stream) int64 {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.win.extra
		}
		var wg sync.WaitGroup
		for i := range streamOf {
			x, y := simPair(50*time.Millisecond, 2e8)
			c, s := start(t, x, Config{Client: true}), start(t, y, Config{Budget: budget})
			a, b := streams(t, c, s)
			streamOf[i] = b
			wg.Go(func() {
				for p := make([]byte, 64<<10); ; {
					if _, err := a.Write(p); err != nil {
						return
					}
				}
			})
			wg.Go(func() { _, _ = io.Copy(io.Discard, b) })
			time.Sleep(10 * time.Second)
			if n := extra(b); i == 0 && n < total*5/8 {
				t.Errorf("alone, a stream has %d bytes of the budget of %d", n, total)
			}
		}
		// How soon depends on which of them runs when; that it comes does not.
		first, second := extra(streamOf[0]), extra(streamOf[1])
		for range 60 {
			if min(first, second) >= total/5 {
				break
			}
			time.Sleep(time.Second)
			first, second = extra(streamOf[0]), extra(streamOf[1])
		}
		t.Logf("%d and %d bytes", first, second)
		if second < total/5 || first < total/5 || first+second+budget.Left() != total {
			t.Errorf("of %d bytes, the first stream has %d, the second %d, left %d", total, first, second, budget.Left())
		}
		for _, b := range streamOf {
			b.Reset()
		}
		wg.Wait()
	})
}
