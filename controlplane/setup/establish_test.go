package setup_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/setup/setuptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEstablish sets up a route over three hops, and a session is up on it.
func TestEstablish(t *testing.T) {
	n := setuptest.New(t, 4, nil)
	n.Chain(n.Visors...)
	a, d := n.Visors[0], n.Visors[3]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	route := a.Establish(t, setup.Request{Path: setuptest.Path(n.Visors[1:]...), Class: 77}, nil)
	if _, err := a.AddRoute(d, 77, route); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sessions.DialClass(ctx, d.PK, 77); err != nil {
		t.Fatal(err)
	}
	for _, v := range n.Visors[1:3] {
		// More than two where somebody was too slow the first time, for a while.
		if got := len(forwards(v)); got < 2 || got%2 != 0 {
			t.Errorf("a visor in the middle has %d rules, want 2", got)
		}
	}
}

// BenchmarkEstablish is the time from the wish to a session that is up, over three
// hops, everything warm.
func BenchmarkEstablish(b *testing.B) {
	n := setuptest.New(b, 4, nil)
	n.Chain(n.Visors...)
	a, d := n.Visors[0], n.Visors[3]
	var class uint32
	var setups, ups []time.Duration
	for b.Loop() {
		class++
		began := time.Now()
		route, err := a.Client.Establish(b.Context(), setup.Request{Path: setuptest.Path(n.Visors[1:]...), Class: class})
		if err != nil {
			b.Fatal(err)
		}
		setups = append(setups, time.Since(began))
		info, err := a.AddRoute(d, class, route)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Sessions.DialClass(b.Context(), d.PK, class); err != nil {
			b.Fatal(err)
		}
		ups = append(ups, time.Since(began))
		_ = a.Sessions.RemoveRoute(info.ID)
	}
	report(b, "setup", setups)
	report(b, "up", ups)
}
