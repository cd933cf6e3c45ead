package router

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// keyOf makes a key that is none, for what only compares keys.
func keyOf(i int) cipher.PubKey { return cipher.PubKey{2, byte(i >> 8), byte(i)} }

// hopsOver makes a path over keys.
func hopsOver(is ...int) (hops []graph.Hop) {
	for k := range is[1:] {
		hops = append(hops, graph.Hop{From: keyOf(is[k]), To: keyOf(is[k+1])})
	}
	return hops
}

func TestPenaltiesFade(t *testing.T) {
	now := time.Now()
	p := newPenalties()
	p.now = func() time.Time { return now }
	s := linkBetween(keyOf(2), keyOf(1))
	p.add(linkBetween(keyOf(1), keyOf(2)), 100)
	for i, want := range []float64{100, 50, 25} {
		if got := p.of(s); math.Abs(got-want) > 1e-9 {
			t.Errorf("after %d half-lives: %v, want %v", i, got, want)
		}
		now = now.Add(halfLife)
	}
	for range 100 {
		p.add(s, penaltyNoLink)
	}
	if got := p.of(s); got != 2*penaltyNoLink {
		t.Errorf("after many failures %v, want no more than %v", got, 2*penaltyNoLink)
	}
	if got := p.of(visor(keyOf(1))); got != 0 {
		t.Errorf("a visor pays for its link: %v", got)
	}
}

func TestPenaltiesBounded(t *testing.T) {
	now := time.Now()
	p := newPenalties()
	p.now = func() time.Time { return now }
	for i := range maxPenalties + 100 {
		p.add(visor(keyOf(i)), float64(1000+i))
	}
	if len(p.all) > maxPenalties {
		t.Errorf("%d remembered, want at most %d", len(p.all), maxPenalties)
	}
	if p.of(visor(keyOf(0))) != 0 || p.of(visor(keyOf(maxPenalties+99))) == 0 {
		t.Error("not the least was forgotten")
	}
}

func TestPathPenalty(t *testing.T) {
	p := newPenalties()
	now := time.Now()
	p.now = func() time.Time { return now }
	p.add(visor(keyOf(1)), 100)
	p.add(visor(keyOf(3)), 1000) // an end: it counts for nothing
	p.add(linkBetween(keyOf(2), keyOf(1)), 200)
	if got := p.path(hopsOver(0, 1, 2, 3)); got != 300 {
		t.Errorf("got %v, want 300", got)
	}
	tests := []struct {
		hops []graph.Hop
		far  bool
		want []cipher.PubKey
	}{
		{hopsOver(0, 1, 2, 3), false, []cipher.PubKey{keyOf(1), keyOf(1)}},
		{hopsOver(0, 1, 2, 3), true, []cipher.PubKey{keyOf(1), keyOf(2)}},
		{hopsOver(1, 2), true, nil},
		{hopsOver(1, 2, 3), false, []cipher.PubKey{keyOf(2)}},
		{hopsOver(4, 2, 1), true, []cipher.PubKey{keyOf(2)}},
		{hopsOver(0, 4, 5), true, nil},
	}
	for _, tt := range tests {
		got := p.suspects(tt.hops, tt.far)
		slices.SortFunc(got, cipher.PubKey.Compare)
		if !slices.Equal(got, tt.want) {
			t.Errorf("suspects of %v, far %v: %v, want %v", tt.hops, tt.far, got, tt.want)
		}
	}
}
