package router

import (
	"slices"
	"testing"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestPolicy(t *testing.T) {
	valid := []Policy{{}, {MinHops: 16}, {MaxHops: 1}, {MinHops: 3, MaxHops: 3, Routes: 8}}
	for _, p := range valid {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	invalid := []Policy{{MinHops: -1}, {MinHops: 17}, {MaxHops: 17}, {MinHops: 3, MaxHops: 2}, {Routes: 9}, {Routes: -1}, {Avoid: make([]cipher.PubKey, 257)}}
	for _, p := range invalid {
		if err := p.Validate(); err == nil {
			t.Errorf("%+v is valid", p)
		}
	}
	if p := (Policy{MinHops: 7}).normal(); p.MaxHops != 7 || p.Routes != 1 {
		t.Errorf("normal: %+v", p)
	}
	a := Policy{MinHops: 2, Avoid: []cipher.PubKey{keyOf(1), keyOf(2)}}.normal()
	b := Policy{MinHops: 2, Avoid: []cipher.PubKey{keyOf(2), keyOf(1), keyOf(2)}, MaxHops: DefaultMaxHops, Routes: 1}.normal()
	if a.key() != b.key() {
		t.Error("one policy has two names")
	}
	others := []Policy{{MinHops: 3}, {MinHops: 2}, {MinHops: 2, MaxHops: 4}, {MinHops: 2, Routes: 2}, {MinHops: 2, Prefer: []cipher.PubKey{keyOf(1), keyOf(2)}}}
	names := map[string]bool{a.key(): true}
	for _, p := range others {
		names[p.normal().key()] = true
	}
	if len(names) != 1+len(others) {
		t.Error("two policies share a name")
	}
	m := a.merge(Policy{Avoid: []cipher.PubKey{keyOf(3)}, Routes: 2}.normal())
	if !slices.Equal(m.Avoid, []cipher.PubKey{keyOf(1), keyOf(2), keyOf(3)}) || m.Routes != 2 || m.MinHops != 2 {
		t.Errorf("merged: %+v", m)
	}
}

// TestFits: what a path finder returns is believed only as far as it answers the
// question.
func TestFits(t *testing.T) {
	q := graph.Query{From: keyOf(0), To: keyOf(9), MinHops: 2, MaxHops: 3, Avoid: []cipher.PubKey{keyOf(5), keyOf(9)}}
	tests := []struct {
		name string
		hops []graph.Hop
		want bool
	}{
		{"two hops", hopsOver(0, 1, 9), true},
		{"three hops", hopsOver(0, 1, 2, 9), true},
		{"none", nil, false},
		{"too short", hopsOver(0, 9), false},
		{"too long", hopsOver(0, 1, 2, 3, 9), false},
		{"elsewhere", hopsOver(0, 1, 2), false},
		{"from elsewhere", hopsOver(1, 2, 9), false},
		{"through what is to be avoided", hopsOver(0, 5, 9), false},
		{"a key twice", hopsOver(0, 1, 1, 9), false},
		{"through its source", hopsOver(0, 1, 0, 9), false},
		{"with a gap", append(hopsOver(0, 1), hopsOver(2, 9)...), false},
	}
	for _, tt := range tests {
		if got := fits(graph.Path{Hops: tt.hops}, q); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
