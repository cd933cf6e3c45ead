package session

import (
	"testing"
	"time"
)

// A healthRig runs a health through simulated time: probes are answered after rtt
// while the route works.
type healthRig struct {
	h       health
	t       traffic
	now     time.Duration
	rtt     time.Duration
	broken  bool
	answers []time.Duration // when replies arrive
	probes  int
	changes []State
}

const rigTick = 50 * time.Millisecond

func newRig(rtt time.Duration) *healthRig {
	r := &healthRig{rtt: rtt, now: time.Second}
	r.h.reset(r.t)
	return r
}

// run goes on for d, sending data each tick if busy; data is answered by data if
// bothWays.
func (r *healthRig) run(d time.Duration, busy, bothWays bool, idle time.Duration) {
	for end := r.now + d; r.now < end; r.now += rigTick {
		for len(r.answers) > 0 && r.answers[0] <= r.now {
			r.answers = r.answers[1:]
			r.t.replies++
			r.t.rtt = r.rtt
		}
		if busy {
			r.t.tx += 10
			if bothWays && !r.broken {
				r.t.rx++
			}
		}
		if r.h.tick(r.now, r.t, idle) {
			r.probes++
			if !r.broken {
				r.answers = append(r.answers, r.now+r.rtt)
			}
		}
		if n := len(r.changes); n == 0 || r.changes[n-1] != r.h.state {
			r.changes = append(r.changes, r.h.state)
		}
	}
}

func TestHealthQuietRouteStaysUp(t *testing.T) {
	r := newRig(100 * time.Millisecond)
	r.run(60*time.Second, false, false, idleProbe)
	if len(r.changes) != 1 || r.changes[0] != StateUp {
		t.Errorf("states %v, want up throughout", r.changes)
	}
	if r.probes < 14 || r.probes > 16 {
		t.Errorf("%d probes in 60 s, want one each %v", r.probes, idleProbe)
	}
	if r.h.rtt != r.rtt {
		t.Errorf("rtt = %v, want %v", r.h.rtt, r.rtt)
	}
}

func TestHealthDirectRouteAsksNothingWhenQuiet(t *testing.T) {
	r := newRig(time.Millisecond)
	r.run(60*time.Second, false, false, 0)
	if r.probes != 0 || r.h.state != StateUp {
		t.Errorf("%d probes, %v; want none and up", r.probes, r.h.state)
	}
}

func TestHealthOneWayTrafficIsNotSuspect(t *testing.T) {
	for _, rtt := range []time.Duration{time.Millisecond, 60 * time.Millisecond, 500 * time.Millisecond} {
		r := newRig(rtt)
		r.h.rtt = rtt
		r.run(30*time.Second, true, false, idleProbe)
		if len(r.changes) != 1 || r.changes[0] != StateUp {
			t.Errorf("rtt %v: states %v, want up throughout", rtt, r.changes)
		}
	}
}

func TestHealthSuspectDeadAndBack(t *testing.T) {
	r := newRig(20 * time.Millisecond)
	r.run(5*time.Second, true, true, idleProbe)
	r.broken = true
	r.run(400*time.Millisecond, true, true, idleProbe)
	if r.h.state != StateSuspect {
		t.Fatalf("400 ms after the break: %v, want suspect", r.h.state)
	}
	r.run(9*time.Second, true, true, idleProbe)
	if r.h.state != StateSuspect {
		t.Fatalf("9.4 s after the break: %v, want still suspect", r.h.state)
	}
	r.run(time.Second, true, true, idleProbe)
	if r.h.state != StateDead {
		t.Fatalf("10.4 s after the break: %v, want dead", r.h.state)
	}
	r.broken = false
	r.run(deadProbe+200*time.Millisecond, false, false, idleProbe)
	if r.h.state != StateUp {
		t.Errorf("after a probe was answered: %v, want up", r.h.state)
	}
}

// A route whose far end still sends, while nothing of ours arrives there, is found
// out by its probes.
func TestHealthOneDirectionBroken(t *testing.T) {
	r := newRig(20 * time.Millisecond)
	r.run(time.Second, true, true, idleProbe)
	r.broken = true
	for range 300 { // 15 s in which the peer's own data goes on
		r.t.rx++
		r.run(rigTick, true, false, idleProbe)
	}
	if r.h.state != StateDead {
		t.Errorf("state %v, want dead although data still comes in", r.h.state)
	}
}

func TestHealthDoubt(t *testing.T) {
	r := newRig(20 * time.Millisecond)
	r.run(time.Second, false, false, idleProbe)
	before := r.probes
	r.h.doubt()
	r.run(rigTick, false, false, idleProbe)
	if r.h.state != StateSuspect || r.probes != before+1 {
		t.Errorf("%v with %d probes, want suspect and a probe at once", r.h.state, r.probes-before)
	}
	r.run(200*time.Millisecond, false, false, idleProbe)
	if r.h.state != StateUp {
		t.Errorf("%v, want up after the reply", r.h.state)
	}
}
