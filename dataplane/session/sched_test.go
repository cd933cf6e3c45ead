package session

import (
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
)

func testRoute(state State, rtt time.Duration, direct bool) *route {
	r := &route{usable: true, health: health{state: state, rtt: rtt}}
	if direct {
		r.direct = new(link.Link)
	}
	return r
}

func TestChooseBest(t *testing.T) {
	const ms = time.Millisecond
	slow, fast := testRoute(StateUp, 50*ms, false), testRoute(StateUp, 10*ms, false)
	near := testRoute(StateUp, 49*ms, false)
	direct := testRoute(StateUp, 60*ms, true)
	suspect := testRoute(StateSuspect, 1*ms, true)
	unusable := testRoute(StateUp, 1*ms, true)
	unusable.usable = false
	tests := []struct {
		name   string
		routes []*route
		old    *route
		want   *route
	}{
		{"none", nil, nil, nil},
		{"none usable", []*route{unusable}, unusable, nil},
		{"the quicker", []*route{slow, fast}, nil, fast},
		{"direct before quicker", []*route{fast, direct}, nil, direct},
		{"answering before direct", []*route{slow, suspect}, nil, slow},
		{"suspect before nothing", []*route{suspect, unusable}, nil, suspect},
		{"no change for a little", []*route{slow, near}, slow, slow},
		{"change for much", []*route{slow, fast}, slow, fast},
		{"away from suspect", []*route{suspect, slow}, suspect, slow},
		{"away from unusable", []*route{unusable, slow}, unusable, slow},
	}
	for _, tt := range tests {
		var old *table
		if tt.old != nil {
			old = &table{slots: []*route{tt.old}}
		}
		got := choose(tt.routes, old, false)
		switch {
		case tt.want == nil && got != nil:
			t.Errorf("%s: a table, want none", tt.name)
		case tt.want != nil && (got == nil || len(got.slots) != 1 || got.route(7) != tt.want):
			t.Errorf("%s: %+v, want route %p", tt.name, got, tt.want)
		case tt.want == tt.old && tt.old != nil && got != old:
			t.Errorf("%s: a new table although nothing changed", tt.name)
		}
	}
}

func TestSpreadMovesLittle(t *testing.T) {
	a, b, c := testRoute(StateUp, 1, false), testRoute(StateUp, 1, false), testRoute(StateUp, 1, false)
	count := func(tb *table, r *route) (n int) {
		for _, o := range tb.slots {
			if o == r {
				n++
			}
		}
		return n
	}
	two := choose([]*route{a, b}, nil, true)
	if count(two, a) != 32 || count(two, b) != 32 {
		t.Fatalf("two equal routes got %d and %d slots", count(two, a), count(two, b))
	}
	b.share.weight = 0.5
	shifted := choose([]*route{a, b}, two, true)
	moved := 0
	for i := range two.slots {
		if two.slots[i] != shifted.slots[i] {
			moved++
		}
	}
	if got := count(shifted, b); got != 21 || moved != 11 {
		t.Errorf("half the weight: %d slots and %d moved, want 21 and 11", got, moved)
	}
	b.share.weight = 0
	three := choose([]*route{a, b, c}, two, true)
	if count(three, a)+count(three, b)+count(three, c) != tableLen || count(three, c) != 21 {
		t.Errorf("three routes: %d %d %d", count(three, a), count(three, b), count(three, c))
	}
	a.usable = false
	left := choose([]*route{a, b, c}, three, true)
	if count(left, a) != 0 {
		t.Errorf("%d slots on a dead route", count(left, a))
	}
	c.usable = false
	if one := choose([]*route{a, b, c}, left, true); len(one.slots) != 1 || one.route(9) != b {
		t.Errorf("one good route left: %d slots", len(one.slots))
	}
}

func TestShareFollowsDelivery(t *testing.T) {
	var s share
	s.update(0, 0)
	var sent, delivered uint64
	step := func(n, lost uint64) { sent += n; delivered += n - lost; s.update(sent, delivered) }
	for range 20 {
		step(1000, 0)
	}
	if s.get() != 1 {
		t.Errorf("weight %v without loss, want 1", s.get())
	}
	for range 5 {
		step(1000, 100)
	}
	if s.get() > 0.6 {
		t.Errorf("weight %v after 10 %% loss, want well below 1", s.get())
	}
	for range 1000 {
		step(1000, 900)
	}
	if s.get() != minWeight {
		t.Errorf("weight %v on a useless route, want the minimum, which finds out when it is better", s.get())
	}
	for range 100 {
		step(1000, 0)
	}
	if s.get() != 1 {
		t.Errorf("weight %v long after the loss, want 1", s.get())
	}
	s.update(sent+1000, 5) // the peer restarted
	if s.get() != 1 {
		t.Errorf("weight %v after the peer began anew, want 1", s.get())
	}
}
