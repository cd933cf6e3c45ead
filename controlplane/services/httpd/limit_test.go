package httpd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func source(n int) Source { return Source{4, byte(n >> 16), byte(n >> 8), byte(n)} }

// A token bucket, counted in the obvious way, allows the same.
func TestLimiterModel(t *testing.T) {
	const seed, rate, burst = 3, 4.0, 6
	rnd := rand.New(rand.NewPCG(seed, seed))
	now := time.Unix(1_700_000_000, 0)
	l := NewLimiter(rate, burst, now)
	type bucket struct {
		tokens int // one comes each quarter of a second
		at     time.Time
	}
	model := map[int]*bucket{}
	for step := range 20000 {
		now = now.Add(time.Duration(rnd.IntN(3)*rnd.IntN(2)) * 250 * time.Millisecond)
		n := rnd.IntN(3)
		b := model[n]
		if b == nil {
			b = &bucket{burst, now}
			model[n] = b
		}
		b.tokens = min(burst, b.tokens+int(now.Sub(b.at)/(250*time.Millisecond)))
		b.at = now
		want := b.tokens > 0
		if want {
			b.tokens--
		}
		if got := l.Allow(source(n), now); got != want {
			t.Fatalf("seed %d, step %d: Allow = %v, want %v", seed, step, got, want)
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := NewLimiter(1, 1, now)
	for n := range 2 * maxSources {
		if !l.Allow(source(n), now) {
			t.Fatalf("source %d is refused", n)
		}
	}
	if len(l.used) > maxSources {
		t.Errorf("%d sources are remembered, want at most %d", len(l.used), maxSources)
	}
	off := NewLimiter(0, 0, now)
	for range 3 {
		if !off.Allow(source(1), now) || len(off.used) != 0 {
			t.Error("a rate of 0 limits, or costs memory")
		}
	}
	// A clock that goes back gives nothing away and locks nobody out for ever.
	if l.Allow(source(2*maxSources-1), now.Add(-time.Hour)) || !l.Allow(source(2*maxSources-1), now.Add(2*time.Second)) {
		t.Error("a clock that goes back")
	}
}

func TestSources(t *testing.T) {
	of := func(s string) Source { return SourceOf(netip.MustParseAddr(s).Unmap()) }
	if of("2001:db8::1") != of("2001:db8::ffff:2") || of("2001:db8::1") == of("2001:db8:0:1::1") {
		t.Error("IPv6 goes by /64")
	}
	if of("192.0.2.1") == of("192.0.2.2") || of("192.0.2.1") != of("::ffff:192.0.2.1") {
		t.Error("IPv4 goes by address, mapped or not")
	}
}

func BenchmarkLimiter(b *testing.B) {
	now := time.Unix(1_700_000_000, 0)
	l := NewLimiter(1e6, 1000, now)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Allow(source(i&0xff), now)
	}
}
