package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	check := func(when string, want bool) {
		t.Helper()
		if got := b.allow(now); got != want {
			t.Fatalf("%s: allowed is %v, want %v", when, got, want)
		}
	}
	check("at first", true)
	b.done(false, now)
	check("after a success", true)
	b.done(true, now)
	check("after a time-out", false)
	now = now.Add(breakFor - 1)
	check("just before the trial", false)
	now = now.Add(1)
	check("the trial", true)
	check("beside the trial", false)
	b.done(true, now)
	check("after a failed trial", false)
	now = now.Add(breakFor)

	var passed atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if b.allow(now) {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 {
		t.Fatalf("%d trials at once, want 1", passed.Load())
	}
	b.done(false, now)
	check("after a good trial", true)
	check("and again", true)
}
