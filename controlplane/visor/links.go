package visor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// Links implements api.Visor.
func (v *Visor) Links(context.Context) ([]api.Link, error) { return v.linkList(), nil }

// linkList returns the links of the data plane and those that wait for a name to
// be resolved, sorted by key and type.
func (v *Visor) linkList() []api.Link {
	all := append(v.plane.Links(), v.wanted.list()...)
	slices.SortFunc(all, func(a, b api.Link) int {
		return cmp.Or(a.PK.Compare(b.PK), strings.Compare(a.Type, b.Type))
	})
	return all
}

// AddLink implements api.Visor.
func (v *Visor) AddLink(_ context.Context, spec api.LinkSpec, save bool) error {
	if spec.PK == v.pk {
		return api.ErrBadRequest.With("%s is this visor's own key", spec.PK)
	}
	if spec.Type == api.DMSG && len(v.network.dmsg) == 0 {
		return errNoDmsg()
	}
	if err := v.wanted.add(spec); err != nil {
		return err
	}
	return v.save(save, func(c *config.Config) { c.Links = append(without(c.Links, idOf(spec)), spec) })
}

// RemoveLink implements api.Visor.
func (v *Visor) RemoveLink(_ context.Context, id api.LinkID, save bool) error {
	missing := notFound("link to", id.PK.String())
	if !v.network.wants(id.PK) {
		defer v.wanted.settle(id.PK)
	}
	for _, l := range v.linkList() {
		if l.PK != id.PK || id.Type != "" && l.Type != id.Type {
			continue
		}
		missing = nil
		if v.wanted.remove(api.LinkID{PK: l.PK, Type: l.Type}) {
			continue
		}
		if err := v.plane.RemoveLink(l.PK, l.Type); err != nil {
			return err
		}
	}
	return v.removed(save, missing, func(c *config.Config) { c.Links = without(c.Links, id) })
}

func idOf(s api.LinkSpec) api.LinkID { return api.LinkID{PK: s.PK, Type: s.Type} }

// without removes the links that id names.
func without(specs []api.LinkSpec, id api.LinkID) []api.LinkSpec {
	return slices.DeleteFunc(specs, func(s api.LinkSpec) bool {
		return s.PK == id.PK && (id.Type == "" || s.Type == id.Type)
	})
}
