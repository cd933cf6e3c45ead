package deployment

import "math"

// What a transport is taken for that nobody has measured, in ms of round trip.
const (
	unknownDirect  = 50
	unknownRelayed = 150
	// hopCost is what a hop costs besides its time: it may fail, and it learns of us.
	hopCost = 2
	// relayedFactor is for a relay's other work, which no idle measurement shows.
	relayedFactor = 2
)

// Cost returns what it costs to go by a transport of type typ, in ms: its round trip,
// more where it loses packets and where it is slow. TCP's rate falls with the square
// root of the loss (Mathis et al., CCR 27:3, 1997), and so does the cost rise: 1 %
// doubles it. A rate of r Mbit/s adds the 100/r ms that 12.5 kB take. s may be nil:
// not measured. Route finders and visors that choose their paths themselves agree by
// it.
func Cost(typ string, s *TransportStats) float64 {
	relayed := typ == TypeDmsg
	ms := float64(unknownDirect)
	if relayed {
		ms = unknownRelayed
	}
	if s == nil {
		return ms + hopCost
	}
	if s.RTTMicros > 0 {
		ms = min(float64(s.RTTMicros)/1000, 10_000)
		if relayed {
			ms *= relayedFactor
		}
	}
	// With nearly no time to lose, packets still cost: at least those of 10 ms.
	lost := min(max(float64(s.LossPPM)/1e6, 0), 1)
	ms += max(ms, 10) * 10 * math.Sqrt(lost)
	if s.Mbps > 0 {
		ms += min(100/s.Mbps, 1000)
	}
	return ms + hopCost
}
