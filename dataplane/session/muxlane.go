package session

import "time"

const (
	// A route that would bring less than benchRate of what the quicker ones bring, and
	// holds everything up by more than benchSkew, is left alone; so is one that loses
	// benchLoss more than the best. After benchFirst it gets another chance, after twice
	// that the next.
	benchRate = 0.1
	benchSkew = 20 * time.Millisecond
	benchLoss = 0.03
	// Before benchProbes in vain a rate may have been taken too low, benchDoubt times.
	benchRounds = 3
	benchProbes = 2
	benchDoubt  = 4
	benchFirst  = 10 * time.Second
	benchMost   = 5 * time.Minute

	queueStale = 500 * time.Millisecond
)

// A lane is what the sender of a mux session knows of one route.
type lane struct {
	r *route
	pacer
	usable  bool          // may carry something now
	left    time.Duration // when it last became unusable
	replies uint64        // to probes, when they were last counted

	// late is how long packets are under way on it, by a clock that is the same for all
	// lanes of a session.
	late    time.Duration
	benched time.Duration // until then it carries nothing
	bench   time.Duration // how long the next pause is
}

// laneForget is for how long what is known of a route holds while it is gone.
const laneForget = 10 * time.Second

// lose ends the use of a lane.
func (l *lane) lose(now time.Duration) {
	if l.usable {
		l.usable, l.left = false, now
	}
}

// back has a lane that was not usable begin again, where it was if that is not long ago.
func (l *lane) back(now, rtt time.Duration) {
	if l.usable {
		return
	}
	l.usable = true
	if l.srtt == 0 || now-l.left > laneForget {
		l.start(now, rtt)
	} else {
		l.revive(now)
	}
}

// lanes share what a session sends.
type lanes []*lane

// measure works out how late packets are on each lane. Where the peer has reported, by
// its clock; elsewhere from half of a round trip. A queue that was seen long ago is
// over.
func (ls lanes) measure(now time.Duration) {
	var offset time.Duration // of the peer's clock
	known := false
	for _, l := range ls {
		if l.srtt != 0 && (!known || l.delay.get()-l.trip.get()/2 < offset) {
			offset, known = l.delay.get()-l.trip.get()/2, true
		}
	}
	for _, l := range ls {
		if l.srtt != 0 {
			l.late = l.delay.get()
			if now-l.heard < queueStale {
				l.late += l.queue
			}
			continue
		}
		l.late = offset + l.guess/2
	}
}

// pick returns the lane that should carry the first of backlog bytes at now: the
// quickest that may send, unless those that are quicker still would be through with the
// whole backlog before what it carries arrives. If there is none it returns how long to
// wait for one, never if that is up to reports.
func (ls lanes) pick(now time.Duration, backlog int) (*lane, time.Duration) {
	var best *lane
	soon := never
	for _, l := range ls {
		if !l.usable || now < l.benched {
			continue
		}
		wait := l.wait(now)
		if wait > 0 && (best != nil || wait >= soon) {
			continue
		}
		if float64(backlog) < ls.due(now, l) {
			if wait == 0 {
				l.unused(now)
			}
			continue
		}
		if wait > 0 {
			soon = wait
		} else if best == nil || l.late < best.late {
			best = l
		}
	}
	return best, soon
}

// due returns how many bytes the lanes that are quicker than l carry before a packet on l
// arrives.
func (ls lanes) due(now time.Duration, l *lane) (bytes float64) {
	for _, o := range ls {
		if o != l && o.usable && now >= o.benched && o.late < l.late && !o.silent(now) {
			bytes += o.bandwidth() * (l.late - o.late).Seconds()
		}
	}
	return bytes
}

// empty notes that there is nothing to send.
func (ls lanes) empty(now time.Duration) {
	for _, l := range ls {
		if l.wait(now) == 0 {
			l.unused(now)
		}
	}
}

// judge benches lanes that are not worth their trouble.
func (ls lanes) judge(now time.Duration) {
	for _, l := range ls {
		if !l.usable || now < l.benched || l.tried < benchRounds {
			continue
		}
		quicker, cleaner := 0.0, false
		var skew time.Duration
		for _, o := range ls {
			if o == l || !o.usable || now < o.benched || o.srtt == 0 || o.silent(now) {
				continue
			}
			if o.late < l.late {
				quicker += o.bandwidth()
				skew = max(skew, l.delay.get()-o.delay.get())
			}
			cleaner = cleaner || o.loss < l.loss/2 && o.bandwidth() > l.bandwidth()/2
		}
		most := l.bandwidth()
		if l.vain < benchProbes {
			most *= benchDoubt
		}
		if most < benchRate*quicker && skew > benchSkew || cleaner && l.loss > benchLoss && l.tried >= lossRounds {
			l.bench = min(max(2*l.bench, benchFirst), benchMost)
			l.benched = now + l.bench
			l.start(now, l.trip.get())
		}
	}
}

// rate returns what all lanes in use carry together, bytes/s.
func (ls lanes) rate(now time.Duration) (sum float64) {
	for _, l := range ls {
		if l.usable && now >= l.benched {
			sum += l.bandwidth()
		}
	}
	return sum
}

// skew returns by how much the slowest lane in use is slower than the quickest, and the
// round trip of the slowest.
func (ls lanes) skew(now time.Duration) (skew, trip time.Duration) {
	var least, most time.Duration
	first := true
	for _, l := range ls {
		if !l.usable || now < l.benched {
			continue
		}
		if first || l.late < least {
			least = l.late
		}
		if first || l.late > most {
			most = l.late
		}
		if l.srtt != 0 {
			trip = max(trip, l.trip.get())
		} else {
			trip = max(trip, l.guess)
		}
		first = false
	}
	return most - least, trip
}
