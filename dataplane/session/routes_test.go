package session

import (
	"slices"
	"testing"
)

// TestRouteIDs: an id is never 0, and none comes twice as long as the keys are the
// same, whether or not its route still exists.
func TestRouteIDs(t *testing.T) {
	dice := []uint32{0, 5, 5, 0, 7, 7, 5, 9}
	random := func() (v uint32) {
		v, dice = dice[0], dice[1:]
		return v
	}
	used := routeIDs{}
	got := []uint32{used.draw(random), used.draw(random), used.draw(random)}
	if want := []uint32{5, 7, 9}; !slices.Equal(got, want) {
		t.Errorf("ids %d, want %d", got, want)
	}
}

// TestRouteIDsAreForgotten: with new keys only the ids of present routes are in use.
func TestRouteIDsAreForgotten(t *testing.T) {
	here := &route{id: 5}
	s := &Session{ids: routeIDs{5: true, 6: true}, routes: []*route{here}}
	here.s = s
	s.adopt(&epoch{User: epochState{first: here}})
	if !s.ids[5] || s.ids[6] {
		t.Errorf("ids in use: %v, want 5 alone", s.ids)
	}
}
