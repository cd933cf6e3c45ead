package visor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/router"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/controlplane/transport"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// defaultPaths is how many paths a search returns that does not say.
const defaultPaths = 3

// routing returns the router, or says that there is none.
func (v *Visor) routing() (*router.Router, error) {
	if v.network.router == nil {
		return nil, errNoNetwork()
	}
	return v.network.router, nil
}

// Find implements api.Visor.
func (v *Visor) Find(ctx context.Context, spec api.FindSpec) ([]api.Path, error) {
	if _, err := v.routing(); err != nil {
		return nil, err
	}
	if spec.Count == 0 {
		spec.Count = defaultPaths
	}
	p := v.policy(spec.Policy)
	q := graph.Query{From: v.pk, To: spec.PK, MinHops: p.MinHops, MaxHops: p.MaxHops, K: spec.Count, Avoid: p.Avoid, Prefer: p.Prefer}
	var all []api.Path
	var errs []error
	for _, m := range v.network.members {
		found, err := v.paths(ctx, m, spec.Finder, q)
		if err != nil {
			errs = append(errs, err)
		}
		for _, f := range found {
			all = append(all, api.Path{PK: spec.PK, Hops: apiHops(f.Hops), Cost: f.Cost})
		}
	}
	if len(all) == 0 && len(errs) > 0 {
		return nil, api.ErrNotFound.With("no path to %s: %v", spec.PK, errors.Join(errs...))
	}
	return all, nil
}

// paths asks the path finder of a kind in one deployment; "" is the configuration's. Who
// names the service wants to hear the service.
func (v *Visor) paths(ctx context.Context, m *member, kind string, q graph.Query) ([]graph.Path, error) {
	switch {
	case kind == "":
		return m.finder(v.config().Routing.PathFinder).Paths(ctx, q)
	case kind == api.FinderLocal:
		return m.local.Paths(ctx, q)
	case m.rf == nil:
		return nil, fmt.Errorf("%s: %w", nameOf(m.conf), errLacks("route finder"))
	}
	return m.rf.Paths(ctx, q)
}

func apiHops(hops []graph.Hop) []api.PathHop {
	all := make([]api.PathHop, 0, len(hops))
	for _, h := range hops {
		ph := api.PathHop{From: h.From, To: h.To, Type: h.Type}
		if h.ID != (graph.TransportID{}) {
			ph.ID = text(h.ID)
		}
		all = append(all, ph)
	}
	return all
}

// Connect implements api.Visor.
func (v *Visor) Connect(ctx context.Context, spec api.ConnectSpec) ([]api.Path, error) {
	if _, err := v.routing(); err != nil {
		return nil, err
	}
	class, err := v.ways.Ensure(ctx, spec.PK, v.policy(spec.Policy))
	if err != nil {
		return nil, translateRoute(err)
	}
	all, err := v.Active(ctx)
	if err != nil {
		return nil, err
	}
	mine := []api.Path{}
	for _, p := range all {
		if p.PK == spec.PK && p.Class == class {
			mine = append(mine, p)
		}
	}
	return mine, nil
}

// Disconnect implements api.Visor.
func (v *Visor) Disconnect(_ context.Context, pk cipher.PubKey) error {
	r, err := v.routing()
	if err != nil {
		return err
	}
	classes := map[uint32]bool{}
	for _, i := range r.Routes() {
		if i.Peer == pk {
			classes[i.Class] = true
		}
	}
	for class := range classes {
		r.Remove(pk, class)
	}
	if len(classes) == 0 {
		return notFound("route to", pk.String())
	}
	return nil
}

// Active implements api.Visor.
func (v *Visor) Active(context.Context) ([]api.Path, error) {
	r, err := v.routing()
	if err != nil {
		return nil, err
	}
	live := map[uint64]session.RouteInfo{}
	for _, i := range v.plane.Live() {
		live[i.ID] = i
	}
	var all []api.Path
	for _, i := range r.Routes() {
		p := api.Path{PK: i.Peer, Hops: apiHops(i.Path), Class: i.Class, State: pathState(i), RTTMicros: i.RTT.Microseconds()}
		if !i.Since.IsZero() {
			since := i.Since.UTC().Round(time.Second)
			p.Since = &since
		}
		if s, ok := live[i.ID]; ok {
			p.LossPPM, p.Mbps, p.SentBytes, p.RecvBytes = s.LossPPM, s.Mbps, s.TxBytes, s.RxBytes
		}
		all = append(all, p)
	}
	return all, nil
}

// pathState names the state of a route of the router.
func pathState(i router.RouteInfo) string {
	if i.Standby && i.State == session.StateUp {
		return api.PathStandby
	}
	return i.State.String()
}

// Trace implements api.Visor.
func (v *Visor) Trace(ctx context.Context, spec api.ConnectSpec) ([]api.TraceHop, error) {
	r, err := v.routing()
	if err != nil {
		return nil, err
	}
	class, err := v.ways.Ensure(ctx, spec.PK, v.policy(spec.Policy))
	if err != nil {
		return nil, translateRoute(err)
	}
	hops, err := r.Trace(ctx, spec.PK, class)
	if err != nil {
		return nil, translateRoute(err)
	}
	var all []api.TraceHop
	for i, h := range hops {
		t := api.TraceHop{Hop: i + 1, PK: h.PK, Type: v.typeOfHop(r, spec.PK, class, i, h.PK), RTTMicros: h.RTT.Microseconds()}
		if h.Err != nil {
			t.Error = h.Err.Error()
		}
		all = append(all, t)
	}
	return all, nil
}

// typeOfHop returns the type of the transport that leads to pk as hop i of a route of a
// class to peer, or "" if that is not known.
func (v *Visor) typeOfHop(r *router.Router, peer cipher.PubKey, class uint32, i int, pk cipher.PubKey) string {
	for _, route := range r.Routes() {
		if route.Peer == peer && route.Class == class && i < len(route.Path) && route.Path[i].To == pk {
			return route.Path[i].Type
		}
	}
	for _, l := range v.plane.Links() {
		if i == 0 && l.PK == pk && l.State == api.LinkUp {
			return l.Type
		}
	}
	return ""
}

// translateRoute gives errors of the router the codes of the API.
func translateRoute(err error) error {
	var refused *setup.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return api.ErrTimeout.With("%v", err)
	case errors.Is(err, transport.ErrSelf):
		return api.ErrBadRequest.With("%v", err)
	case errors.As(err, &refused):
		return api.ErrUnreachable.With("%v", err)
	}
	var coded *api.Error
	if errors.As(err, &coded) {
		return err
	}
	return api.ErrUnreachable.With("%v", err)
}
