package session

import (
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// search runs s for d on a path that carries real bytes and reports the probes.
func search(s *mtuSearch, now *time.Duration, d time.Duration, ceiling, real int, hints bool) (probes int) {
	for end := *now + d; *now < end; *now += 50 * time.Millisecond {
		size := s.tick(*now, 20*time.Millisecond, ceiling)
		if size == 0 {
			continue
		}
		probes++
		switch {
		case size%packet.RouteAlign != 0 || size > ceiling:
			panic("probe of a size that the link does not carry")
		case size <= real:
			s.confirm(size, *now)
		case hints:
			s.hint(real, *now)
		}
	}
	return probes
}

func TestMTUSearch(t *testing.T) {
	tests := []struct {
		name          string
		ceiling, real int
		hints         bool
		want          int
		most          int // probes
	}{
		{"first link is the narrowest", 1424, 1424, false, 1424, 1},
		{"all streams", packet.MaxRoutePacket, packet.MaxRoutePacket, false, packet.MaxRoutePacket, 1},
		{"a narrow hop that says so", packet.MaxRoutePacket, 1424, true, 1424, 8},
		{"a narrow hop that is silent", packet.MaxRoutePacket, 1424, false, 1408, 80},
		{"nothing above the minimum", 1440, 1200, false, 1200, 60},
		{"a link of minimum size", 1200, 1200, false, 1200, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s mtuSearch
			now := time.Second
			s.restart(tt.ceiling)
			if s.mtu != startMTU {
				t.Fatalf("begins with %d, want %d", s.mtu, startMTU)
			}
			n := search(&s, &now, 30*time.Second, tt.ceiling, tt.real, tt.hints)
			if s.mtu != tt.want || n > tt.most {
				t.Errorf("mtu %d after %d probes, want %d after at most %d", s.mtu, n, tt.want, tt.most)
			}
		})
	}
}

// A middle link that has not found its own MTU yet says so, and is asked again.
func TestMTUEarlyHintIsNotForEver(t *testing.T) {
	var s mtuSearch
	now := time.Second
	s.restart(1440)
	search(&s, &now, 500*time.Millisecond, 1440, 1200, true)
	if search(&s, &now, 5*time.Second, 1440, 1440, true); s.mtu != 1440 {
		t.Errorf("mtu %d five seconds later, want 1440", s.mtu)
	}
}

// On a path that never carries more, searches become rare.
func TestMTUSearchesBecomeRare(t *testing.T) {
	var s mtuSearch
	now := time.Second
	s.restart(1440)
	search(&s, &now, time.Hour, 1440, 1200, true)
	if n := search(&s, &now, time.Hour, 1440, 1200, true); n > 8 {
		t.Errorf("%d probes in the second hour, want one each ten minutes", n)
	}
}

func TestMTUHintsLowerAndProbesRaise(t *testing.T) {
	var s mtuSearch
	now := time.Second
	s.restart(1440)
	search(&s, &now, 5*time.Second, 1440, 1440, true)
	s.hint(1300, now) // the path changed, or somebody lies
	if s.mtu != 1296 {
		t.Errorf("mtu %d after a hint of 1300, want 1296 at once", s.mtu)
	}
	s.hint(16, now)
	if s.mtu != startMTU {
		t.Errorf("mtu %d after a hint of 16, want no less than %d", s.mtu, startMTU)
	}
	if search(&s, &now, time.Second, 1440, 1440, true); s.mtu != startMTU {
		t.Errorf("mtu %d within a second, want the hint to hold", s.mtu)
	}
	if search(&s, &now, 10*time.Second, 1440, 1440, true); s.mtu != 1440 {
		t.Errorf("mtu %d, want 1440 found again", s.mtu)
	}
	if search(&s, &now, time.Second, 1280, 1280, true); s.mtu != 1280 {
		t.Errorf("mtu %d, want the smaller first link's 1280 at once", s.mtu)
	}
	s.confirm(9000, now)
	if s.mtu != 1280 {
		t.Errorf("mtu %d: a reply that claims more than was sent raised it", s.mtu)
	}
}
