package visor

import (
	"context"
	"errors"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// Routes implements plane.
func (f *floors) Routes() []api.Route {
	ends := f.sessionEnds()
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []api.Route
	for _, i := range f.forward.Rules() {
		r := api.Route{
			Rule:    api.Rule{In: hop(i.In, i.InLabel), Out: hop(i.Out, i.OutLabel)},
			Kind:    api.RouteForward,
			Static:  i.InLabel <= packet.MaxStaticLabel,
			Waiting: []cipher.PubKey{},
			Packets: i.Packets, Bytes: i.Bytes,
		}
		for _, n := range i.Waiting {
			r.Waiting = append(r.Waiting, n.Peer)
		}
		switch i.Op {
		case "direct":
			r.Kind, r.Peer = api.RouteDirect, &i.In.Peer
		case "deliver":
			r.Kind = api.RouteEnd
			if e, ok := f.ends[r.In]; ok {
				r.Rule = e.rule
			} else if e, ok := ends[i.InLabel]; ok {
				r.Peer, r.Out = &e.Peer, hop(e.Out, e.OutLabel)
			}
		}
		all = append(all, r)
	}
	return all
}

// sessionEnds returns the routes that end here, by the label under which they come in.
func (f *floors) sessionEnds() map[packet.Label]session.RouteSpec {
	ends := map[packet.Label]session.RouteSpec{}
	for _, i := range f.sessions.Routes() {
		if !i.Direct {
			ends[i.InLabel] = i.RouteSpec
		}
	}
	return ends
}

func hop(n forward.Neighbour, label packet.Label) api.Hop {
	return api.Hop{Link: n.Peer, Label: uint32(label)}
}

// AddRule implements plane.
func (f *floors) AddRule(r api.Rule) error {
	in, out := forward.Neighbour{Peer: r.In.Link}, forward.Neighbour{Peer: r.Out.Link}
	if r.Peer == nil {
		_, err := f.forward.AddRule(forward.RuleSpec{In: in, InLabel: packet.Label(r.In.Label), Out: out, OutLabel: packet.Label(r.Out.Label)})
		return translate(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.sessions.AddRoute(session.RouteSpec{
		Peer: *r.Peer, In: in, InLabel: packet.Label(r.In.Label), Out: out, OutLabel: packet.Label(r.Out.Label),
	})
	if err != nil {
		return translate(err)
	}
	f.ends[r.In] = end{r, i.ID}
	return nil
}

// RemoveRule implements plane.
func (f *floors) RemoveRule(in api.Hop) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.ends[in]; ok {
		delete(f.ends, in)
		return translate(f.sessions.RemoveRoute(e.id))
	}
	for _, i := range f.forward.Rules() {
		if i.Op == "forward" && hop(i.In, i.InLabel) == in {
			return translate(f.forward.RemoveRule(i.InLabel))
		}
	}
	return notFound("rule", in.String())
}

// Live implements plane.
func (f *floors) Live() []session.RouteInfo { return f.sessions.Routes() }

// Static implements plane.
func (f *floors) Static(pk cipher.PubKey) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.ends {
		if *e.rule.Peer == pk {
			return true
		}
	}
	return false
}

// translate gives errors of the data plane the codes of the API.
func translate(err error) error {
	if err == nil {
		return nil
	}
	codes := []struct {
		is   error
		code *api.Error
	}{
		{link.ErrExists, api.ErrExists},
		{forward.ErrLabelTaken, api.ErrExists},
		{link.ErrNotFound, api.ErrNotFound},
		{forward.ErrNoRule, api.ErrNotFound},
		{session.ErrNoSuchRoute, api.ErrNotFound},
		{forward.ErrTransitOff, api.ErrDenied},
		{forward.ErrTooManyRules, api.ErrDenied},
		{session.ErrNoRoute, api.ErrUnreachable},
		{session.ErrRouteDown, api.ErrUnreachable},
		{session.ErrHandshakeTimeout, api.ErrUnreachable},
		{context.DeadlineExceeded, api.ErrTimeout},
	}
	for _, c := range codes {
		if errors.Is(err, c.is) {
			return c.code.With("%v", err)
		}
	}
	return api.ErrBadRequest.With("%v", err)
}
