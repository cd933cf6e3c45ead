package router

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// A RouteInfo is a route that the router made.
type RouteInfo struct {
	ID         uint64 // of session.RouteInfo
	Peer       cipher.PubKey
	Class      uint32
	Policy     Policy
	Deployment string
	Node       cipher.PubKey // the setup node that made it
	Path       []graph.Hop
	State      session.State
	Standby    bool // kept warm, and not used now
	Since      time.Time
	RTT        time.Duration
}

// Routes returns what the router keeps, by ID.
func (r *Router) Routes() (all []RouteInfo) {
	infos := map[uint64]session.RouteInfo{}
	for _, in := range r.cfg.Sessions.Routes() {
		infos[in.ID] = in
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pools {
		for _, k := range p.routes {
			in, known := infos[k.id]
			all = append(all, RouteInfo{
				ID: k.id, Peer: p.peer, Class: p.class, Policy: p.policy, Deployment: k.deployment, Node: k.node,
				Path: slices.Clone(k.hops), State: k.state, Standby: known && !in.InUse && p.policy.Routes == 1, Since: k.since, RTT: in.RTT,
			})
		}
	}
	slices.SortFunc(all, func(a, b RouteInfo) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Found is a path and what is known about it.
type Found struct {
	Deployment string
	graph.Path         // Cost is the finder's
	Penalty    float64 // for what has failed on it lately
}

// Find returns the paths to pk that p allows, best first, without making a route. A
// direct link is among them where it is listed. Errors: those of Policy.Validate;
// ErrSelf; ErrNoPath.
func (r *Router) Find(ctx context.Context, pk cipher.PubKey, p Policy) ([]Found, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if pk == r.cfg.Key {
		return nil, ErrSelf
	}
	c := r.newChooser(pk, p.normal())
	var all []Found
	for {
		k, err := c.next(ctx)
		if err != nil {
			if len(all) == 0 {
				return nil, err
			}
			return all, nil
		}
		all = append(all, Found{k.member.Name, k.path, r.penalties.path(k.path.Hops)})
	}
}
