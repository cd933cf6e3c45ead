package visor

import (
	"context"
	"errors"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/router"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// newLocal returns a path finder over what the member's transport discovery lists and
// over the links of engine.
func (m *member) newLocal(self cipher.PubKey, engine *link.Engine) (*router.Local, error) {
	c := router.LocalConfig{Key: self, List: noList{}, Own: func() []graph.Edge { return ownEdges(self, engine) }, Log: m.log}
	if m.tpd != nil {
		c.List = m.tpd
	}
	return router.NewLocal(c)
}

// noList is the list of a deployment without a transport discovery.
type noList struct{}

// All implements router.Lister.
func (noList) All(context.Context, string) ([]deployment.SignedTransport, string, error) {
	return []deployment.SignedTransport{}, "", nil
}

// ownEdges returns the visor's links that are up.
func ownEdges(self cipher.PubKey, engine *link.Engine) []graph.Edge {
	var all []graph.Edge
	for _, l := range engine.Links() {
		i := l.Info()
		if !i.Up {
			continue
		}
		typ := i.Type.String()
		cost := max(float64(i.RTT.Microseconds())/1000, 0.1)
		all = append(all, graph.Edge{ID: deployment.NewTransportID(self, i.Peer, typ), A: self, B: i.Peer, Type: typ, Cost: cost})
	}
	return all
}

// finder returns the path finder of a kind. A route finder that does not answer is
// stood in for by the visor itself.
func (m *member) finder(kind string) router.PathFinder {
	if kind == api.FinderService && m.rf != nil {
		return standIn{m.rf, m.local}
	}
	return m.local
}

// A standIn asks second where first gives no answer.
type standIn struct{ first, second router.PathFinder }

// Paths implements router.PathFinder.
func (s standIn) Paths(ctx context.Context, q graph.Query) ([]graph.Path, error) {
	paths, err := s.first.Paths(ctx, q)
	if err == nil || errors.Is(err, deployment.ErrNotFound) || errors.Is(err, deployment.ErrBadRequest) || ctx.Err() != nil {
		return paths, err
	}
	paths, second := s.second.Paths(ctx, q)
	if second != nil {
		return nil, errors.Join(err, second)
	}
	return paths, nil
}
