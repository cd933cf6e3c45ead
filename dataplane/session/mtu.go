package session

import (
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// Steps of the search for a route's MTU: what common paths carry, less the frame
// of a UDP link (60 or 80 bytes with IP and UDP), as multiples of 16. Larger ones
// are streams and jumbo frames.
var mtuSteps = [...]int{packet.MaxRoutePacket, 16384, 8880, 4032, 1440, 1408, 1392, 1344, 1280}

const (
	startMTU    = packet.MinMTU
	mtuTries    = 3
	mtuRetryMin = 300 * time.Millisecond

	// Pauses between searches double: links further on find their own MTU just
	// after they came up, later changes are rare.
	mtuGapMin = time.Second
	mtuGapMax = 10 * time.Minute
)

// mtuSearch finds the largest route packet that crosses a route, by probes of
// falling size. Route errors give hints where to look; only a probe that came back
// raises the MTU. One goroutine at a time.
type mtuSearch struct {
	mtu     int // what is used now
	ceiling int // the first link's MTU when the search began
	target  int // being probed; 0: not searching
	tries   int
	next    time.Duration
	gap     time.Duration // the pause after this search
}

// restart begins a search below ceiling at the next tick. What works is kept if it
// still fits the first link.
func (s *mtuSearch) restart(ceiling int) {
	if ceiling != s.ceiling {
		s.gap = mtuGapMin
	}
	*s = mtuSearch{mtu: min(max(s.mtu, startMTU), ceiling), ceiling: ceiling, gap: s.gap}
	if ceiling > s.mtu {
		s.target = ceiling
	}
}

// confirm notes that a probe of size bytes came back.
func (s *mtuSearch) confirm(size int, now time.Duration) {
	if size > s.mtu && size <= s.ceiling {
		s.mtu = size
	}
	if s.target != 0 && size >= s.target {
		s.rest(now)
	}
}

// hint takes a route error's claim that a hop carries no more than size. A hop can
// lie, but not below what every link carries.
func (s *mtuSearch) hint(size int, now time.Duration) {
	size = max(size&^(packet.RouteAlign-1), startMTU)
	if size < s.mtu {
		s.mtu = size
		s.rest(now)
		return
	}
	if s.target > size {
		s.aim(size, now)
	}
}

// tick returns the size of the probe that is due, or 0.
func (s *mtuSearch) tick(now, rtt time.Duration, ceiling int) int {
	if ceiling != s.ceiling || s.target == 0 && s.ceiling > s.mtu && now >= s.next {
		s.restart(ceiling)
	}
	if s.target == 0 || now < s.next {
		return 0
	}
	if s.tries == mtuTries {
		s.aim(s.below(s.target), now)
		if s.target == 0 {
			return 0
		}
	}
	s.tries++
	s.next = now + max(2*rtt, mtuRetryMin)
	return s.target
}

// below returns the next size to try, or 0.
func (s *mtuSearch) below(size int) int {
	for _, step := range mtuSteps {
		if step < size && step > s.mtu {
			return step
		}
	}
	return 0
}

func (s *mtuSearch) aim(size int, now time.Duration) {
	if size <= s.mtu {
		s.rest(now)
		return
	}
	s.target, s.tries, s.next = size, 0, now
}

// rest ends the search for now.
func (s *mtuSearch) rest(now time.Duration) {
	s.target, s.tries, s.next = 0, 0, now+s.gap
	s.gap = min(2*s.gap, mtuGapMax)
}
