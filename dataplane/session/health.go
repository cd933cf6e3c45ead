package session

import "time"

// A State says how much a route can be trusted to carry packets.
type State uint8

// States. A route begins as StateWaiting.
const (
	StateWaiting State = iota // no link, or no keys yet
	StateUp
	StateSuspect // sent, and nothing came back for a while
	StateDead    // nothing came back for deadAfter
)

// String returns the word that people see.
func (s State) String() string {
	switch s {
	case StateWaiting:
		return "waiting"
	case StateUp:
		return "up"
	case StateSuspect:
		return "suspect"
	case StateDead:
		return "dead"
	}
	return "unknown"
}

// Times of liveness.
const (
	deadAfter    = 10 * time.Second
	minSuspect   = 250 * time.Millisecond // and at least three round trips
	idleProbe    = 4 * time.Second        // keeps the rules on the way from expiring
	urgentProbe  = 250 * time.Millisecond
	deadProbe    = 2 * time.Second
	maxRTTSample = 30 * time.Second
)

// health follows one route from what tick tells it; one goroutine at a time.
//
// Two things must not stay unanswered: data, by data or a reply, and probes, by
// replies. Only a reply proves that our direction works, but with data flowing
// both ways its absence shows sooner.
type health struct {
	state State
	rtt   time.Duration // smoothed, 0: not known

	dataSince  time.Duration // the oldest data without an answer was seen then; 0: none
	probeSince time.Duration // likewise
	unanswered int           // probes since then
	lastProbe  time.Duration
	seen       traffic
}

// traffic is what has passed on a route so far.
type traffic struct {
	tx, rx  uint64 // data packets
	replies uint64
	rtt     time.Duration // of the last reply
}

// tick takes the counters at now and reports whether a probe is due. idle is how
// often a quiet route wants one, 0 for never.
func (h *health) tick(now time.Duration, t traffic, idle time.Duration) (probe bool) {
	if t.replies != h.seen.replies {
		h.dataSince, h.probeSince, h.unanswered = 0, 0, 0
		h.sample(t.rtt)
	}
	if t.rx != h.seen.rx {
		h.dataSince = 0
	}
	answered := t.replies != h.seen.replies || t.rx != h.seen.rx && h.state != StateDead
	if t.tx != h.seen.tx && h.dataSince == 0 {
		h.dataSince = now
	}
	h.seen = t

	silent := max(since(now, h.dataSince), since(now, h.probeSince))
	limit := max(3*h.rtt, minSuspect)
	switch {
	case silent > deadAfter:
		h.state = StateDead
	case silent > limit && h.state != StateDead:
		h.state = StateSuspect
	case answered && h.probeSince == 0, h.state == StateWaiting:
		h.state = StateUp
	}
	if due := h.interval(silent, limit, idle); due > 0 && now-h.lastProbe >= due {
		h.probed(now)
		return true
	}
	return false
}

// interval returns how long after the last probe the next is due, 0 for never.
func (h *health) interval(silent, limit, idle time.Duration) time.Duration {
	switch {
	case h.state == StateDead:
		return deadProbe
	case h.state == StateSuspect:
		return urgentProbe
	case silent > limit/2: // before suspicion falls on one-way traffic
		return max(h.rtt, urgentProbe/2)
	}
	return idle
}

// probed notes that a probe goes out at now.
func (h *health) probed(now time.Duration) {
	h.lastProbe = now
	h.unanswered++
	if h.probeSince == 0 {
		h.probeSince = now
	}
}

// doubt takes a hop's word that packets are lost: a probe goes out at the next tick,
// and its reply clears the route.
func (h *health) doubt() {
	if h.state == StateUp {
		h.state, h.lastProbe = StateSuspect, 0
	}
}

// reset begins anew: the route got a link or keys.
func (h *health) reset(seen traffic) { *h = health{rtt: h.rtt, seen: seen} }

func (h *health) sample(rtt time.Duration) {
	switch {
	case rtt <= 0 || rtt > maxRTTSample:
	case h.rtt == 0:
		h.rtt = rtt
	default:
		h.rtt += (rtt - h.rtt) / 8
	}
}

// since returns how long ago t was, or 0 if t is unset.
func since(now, t time.Duration) time.Duration {
	if t == 0 {
		return 0
	}
	return now - t
}
