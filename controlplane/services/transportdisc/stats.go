package transportdisc

import (
	"math"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// show decides what is told of a transport's stats, and says whether that changed.
// Small changes are not told: each would make everybody fetch the list again. mu is
// held.
func (x *Index) show(t *transport) bool {
	now := merge(t)
	if !differ(t.shown, now) {
		return false
	}
	t.shown = now
	if t.listed {
		x.tell(t)
	}
	return t.listed
}

// merge makes one of what both edges measured: of round trips the mean, of loss and
// rate the worse. What nobody measured is 0, and nil if that is everything. Bytes are
// left out, for they always change.
func merge(t *transport) *deployment.TransportStats {
	out := deployment.TransportStats{ID: t.ID}
	n := int64(0)
	for _, s := range t.stats {
		if s == nil {
			continue
		}
		if s.RTTMicros > 0 {
			out.RTTMicros += s.RTTMicros
			n++
		}
		out.LossPPM = max(out.LossPPM, s.LossPPM)
		if s.Mbps > 0 && (out.Mbps == 0 || s.Mbps < out.Mbps) {
			out.Mbps = s.Mbps
		}
	}
	if n > 0 {
		out.RTTMicros /= n
	}
	if out.RTTMicros == 0 && out.LossPPM == 0 && out.Mbps == 0 {
		return nil
	}
	out.Mbps = math.Round(out.Mbps*10) / 10
	return &out
}

// differ says whether two measurements differ by more than they do by chance: a
// quarter and half a ms of round trip, a quarter and 0.5 % of loss, a third of the
// rate.
func differ(a, b *deployment.TransportStats) bool {
	if a == nil || b == nil {
		return a != b
	}
	far := func(x, y, part, least float64) bool {
		return math.Abs(x-y) > max(part*max(x, y), least)
	}
	return far(float64(a.RTTMicros), float64(b.RTTMicros), 0.25, 500) ||
		far(float64(a.LossPPM), float64(b.LossPPM), 0.25, 5000) ||
		far(a.Mbps, b.Mbps, 0.33, 0.1)
}

// clean makes what a visor says of a transport something that can be reckoned with.
func clean(s deployment.TransportStats) deployment.TransportStats {
	s.RTTMicros = min(max(s.RTTMicros, 0), math.MaxUint32)
	s.LossPPM = min(max(s.LossPPM, 0), 1_000_000)
	if !(s.Mbps > 0) { // NaN too
		s.Mbps = 0
	}
	s.Mbps = min(s.Mbps, 1e6)
	return s
}
