package api

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestNetworkValidation: what is wrong is said with its path, all at once.
func TestNetworkValidation(t *testing.T) {
	a := key(t)
	tests := []struct {
		name string
		in   interface{ Validate() error }
		want []string
	}{
		{"transport", TransportSpec{Type: "tcp", Label: strings.Repeat("x", 65)}, []string{"pk: is missing", `type: is "tcp"`, "label: has 65 bytes"}},
		{"good transport", TransportSpec{PK: a, Type: STCPR}, nil},
		{"no id", TransportID{}, []string{"pk: is missing"}},
		{"two ids", TransportID{ID: "x", PK: a}, []string{"id: names a transport already"}},
		{"good id", TransportID{ID: "x"}, nil},
		{"policy", RoutePolicy{MinHops: 17, MaxHops: -1, MuxRoutes: 9, Avoid: []cipher.PubKey{{}}}, []string{"min_hops: is 17", "max_hops: is -1", "mux_routes: is 9", "max_hops: is -1, less", "avoid[0]: is missing"}},
		{"less than least", RoutePolicy{MinHops: 3, MaxHops: 2}, []string{"max_hops: is 2, less than min_hops, which is 3"}},
		{"find", FindSpec{Policy: RoutePolicy{MinHops: -1}, Count: 17, Finder: "oracle"}, []string{"pk: is missing", "policy.min_hops: is -1", "count: is 17", `finder: is "oracle"`}},
		{"connect", ConnectSpec{Policy: RoutePolicy{Prefer: []cipher.PubKey{{}}}}, []string{"pk: is missing", "policy.prefer[0]"}},
		{"offers", OfferQuery{Count: -1}, []string{"type: is missing", "count: is -1"}},
		{"level", LogLevel{"loud"}, []string{`level: is "loud"`}},
		{"forward", ForwardSpec{Reach: a.String() + ":1", Local: "127.0.0.1:1", Route: &RoutePolicy{MinHops: 99}}, []string{"route.min_hops: is 99"}},
		{"exposed with a way", ForwardSpec{Expose: "h:1", Port: 1, Public: true, Route: &RoutePolicy{}}, []string{"route: belongs to reach"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			errs := Split(tt.in.Validate())
			if len(errs) != len(tt.want) {
				t.Fatalf("got %v, want %d faults", errs, len(tt.want))
			}
			for i, e := range errs {
				if !strings.HasPrefix(e.Error(), tt.want[i]) {
					t.Errorf("got %q, want %q", e, tt.want[i])
				}
			}
		})
	}
}

// A networked visor notes what it was asked about deployments.
type networked struct {
	*fake
	got any
}

func (n *networked) ask(got any) error { n.got = got; return n.err }

func (n *networked) Transports(context.Context) ([]Transport, error) {
	return nil, n.ask("transports")
}
func (n *networked) AddTransport(_ context.Context, s TransportSpec, save bool) (Transport, error) {
	return Transport{PK: s.PK, Registered: []string{"lab"}}, n.ask(Change[TransportSpec]{s, save})
}
func (n *networked) Reload(context.Context) (Reloaded, error) { return Reloaded{}, n.ask("reload") }
func (n *networked) Disconnect(_ context.Context, pk cipher.PubKey) error {
	return n.ask(pk)
}
func (n *networked) Trace(_ context.Context, s ConnectSpec) ([]TraceHop, error) {
	return []TraceHop{{Hop: 1, PK: s.PK}}, n.ask(s)
}

// TestNetworkCalls: what a client asks for arrives, and the answer comes back.
func TestNetworkCalls(t *testing.T) {
	v := &networked{fake: &fake{}}
	c := serve(t, v)
	ctx := t.Context()
	a := key(t)
	spec := TransportSpec{PK: a, Type: DMSG, Label: "l"}
	if got, err := c.AddTransport(ctx, spec, true); err != nil || got.PK != a || len(got.Registered) != 1 || v.got != (Change[TransportSpec]{spec, true}) {
		t.Errorf("add: %+v, %v; asked for %+v", got, err, v.got)
	}
	if all, err := c.Transports(ctx); err != nil || all == nil {
		t.Errorf("an empty list is %v, %v; want [] and not null", all, err)
	}
	if _, err := c.Reload(ctx); err != nil || v.got != "reload" {
		t.Errorf("reload: %v, %v", v.got, err)
	}
	if err := c.Disconnect(ctx, a); err != nil || v.got != a {
		t.Errorf("disconnect: %v, %v", v.got, err)
	}
	want := ConnectSpec{PK: a, Policy: RoutePolicy{MinHops: 3, Avoid: []cipher.PubKey{a}}}
	if hops, err := c.Trace(ctx, want); err != nil || len(hops) != 1 || !reflect.DeepEqual(v.got, want) {
		t.Errorf("trace: %+v, %v; asked for %+v", hops, err, v.got)
	}
	v.err = ErrNoNetwork
	if _, err := c.Transports(ctx); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("an error came as %v", err)
	}
	v.err = nil
	if _, err := c.Trace(ctx, ConnectSpec{PK: a, Policy: RoutePolicy{MinHops: 99}}); !errors.Is(err, ErrBadRequest) || !strings.Contains(err.Error(), "policy.min_hops") {
		t.Errorf("a bad request: %v", err)
	}
}
