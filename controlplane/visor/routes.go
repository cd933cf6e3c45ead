package visor

import (
	"context"
	"slices"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// Routes implements api.Visor.
func (v *Visor) Routes(context.Context) ([]api.Route, error) { return v.plane.Routes(), nil }

// AddRule implements api.Visor.
func (v *Visor) AddRule(_ context.Context, r api.Rule, save bool) error {
	for _, pk := range []*api.Hop{&r.In, &r.Out} {
		if pk.Link == v.pk {
			return api.ErrBadRequest.With("%s is this visor's own key; a rule names the neighbour at the other end of a link", pk.Link)
		}
	}
	if r.Peer != nil && *r.Peer == v.pk {
		return api.ErrBadRequest.With("%s is this visor's own key; --peer names the visor at the other end of the route", r.Peer)
	}
	if err := v.plane.AddRule(r); err != nil {
		return err
	}
	return v.save(save, func(c *config.Config) { c.Rules = append(withoutRule(c.Rules, r.In), r) })
}

// RemoveRule implements api.Visor.
func (v *Visor) RemoveRule(_ context.Context, in api.Hop, save bool) error {
	return v.removed(save, v.plane.RemoveRule(in), func(c *config.Config) { c.Rules = withoutRule(c.Rules, in) })
}

func withoutRule(rules []api.Rule, in api.Hop) []api.Rule {
	return slices.DeleteFunc(rules, func(r api.Rule) bool { return r.In == in })
}
