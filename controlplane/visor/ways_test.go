package visor

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/router"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestWayText: what is joined is split into the same.
func TestWayText(t *testing.T) {
	a, _ := cipher.GenerateKeyPair()
	b, _ := cipher.GenerateKeyPair()
	addr := api.Peer(a, 80)
	for _, p := range []api.RoutePolicy{
		{},
		{MinHops: 3},
		{MinHops: 2, MaxHops: 5, MuxRoutes: 2, Avoid: []cipher.PubKey{a, b}, Prefer: []cipher.PubKey{b}},
	} {
		text := joinWay(addr, &p)
		got, policy, err := splitWay(text)
		if err != nil || got != addr || !reflect.DeepEqual(policy, p) {
			t.Errorf("%s: %s, %+v, %v", text, got, policy, err)
		}
	}
	if joinWay(addr, nil) != addr {
		t.Error("no policy changes the address")
	}
	for _, bad := range []string{"?min-hops=x", "?avoid=02zz", "?hops=1", "?min-hops=99", "?%zz"} {
		if _, _, err := splitWay(addr + bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// ensured notes what it is asked for.
type ensured struct {
	class  uint32
	err    error
	pk     cipher.PubKey
	policy router.Policy
}

func (e *ensured) Ensure(_ context.Context, pk cipher.PubKey, p router.Policy) (uint32, error) {
	e.pk, e.policy = pk, p
	return e.class, e.err
}

// byHand has a static route to everybody.
type byHand struct{ *fakePlane }

func (byHand) Static(cipher.PubKey) bool { return true }

// TestReach: what the configuration says fills the gaps of a policy, and a route that an
// operator has set is taken where nothing else is asked for.
func TestReach(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	avoided, _ := cipher.GenerateKeyPair()
	c := config.Default()
	c.Routing.MinHops, c.Routing.MaxHops, c.Routing.MuxRoutes, c.Routing.Avoid = 2, 4, 3, []cipher.PubKey{avoided}
	w := &ensured{class: 7}
	v := &Visor{plane: &fakePlane{}, ways: w}
	v.current.Store(&c)
	tests := []struct {
		name string
		in   api.RoutePolicy
		want router.Policy
	}{
		{"nothing", api.RoutePolicy{}, router.Policy{MinHops: 2, MaxHops: 4, Routes: 3, Avoid: c.Routing.Avoid}},
		{"all", api.RoutePolicy{MinHops: 1, MaxHops: 3, MuxRoutes: 1, Avoid: []cipher.PubKey{pk}}, router.Policy{MinHops: 1, MaxHops: 3, Routes: 1, Avoid: []cipher.PubKey{pk}}},
		{"more than the most", api.RoutePolicy{MinHops: 6}, router.Policy{MinHops: 6, MaxHops: 6, Routes: 3, Avoid: c.Routing.Avoid}},
	}
	for _, tt := range tests {
		class, err := v.reach(t.Context(), pk, tt.in)
		if err != nil || class != 7 || w.pk != pk || !reflect.DeepEqual(w.policy, tt.want) {
			t.Errorf("%s: class %d, %v, policy %+v, want %+v", tt.name, class, err, w.policy, tt.want)
		}
	}
	v.plane, w.pk = byHand{&fakePlane{}}, cipher.PubKey{}
	if class, err := v.reach(t.Context(), pk, api.RoutePolicy{}); class != 0 || err != nil || !w.pk.IsZero() {
		t.Errorf("with a static route: class %d, %v, asked for %s", class, err, w.pk)
	}
	if class, err := v.reach(t.Context(), pk, api.RoutePolicy{MinHops: 3}); class != 7 || err != nil {
		t.Errorf("with a static route and a policy: class %d, %v", class, err)
	}
	v.ways = nil
	if _, err := v.reach(t.Context(), pk, api.RoutePolicy{MinHops: 3}); !errors.Is(err, api.ErrNoNetwork) {
		t.Errorf("a policy without a router: %v", err)
	}
	w.err, v.ways = errors.New("router: no path"), w
	n := appNetwork{&fakePlane{}, v.reach}
	if _, err := n.Dial(t.Context(), joinWay(api.Peer(pk, 5), &api.RoutePolicy{MinHops: 3})); err == nil || !strings.HasPrefix(err.Error(), api.Peer(pk, 5)+": router: no path") {
		t.Errorf("a dial without a path: %v", err)
	}
}
