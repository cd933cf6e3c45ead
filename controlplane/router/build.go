package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

const (
	// upWithin is how long a route may take to come up once all its rules are said to
	// be there: a setup node that installs half is found out by that.
	upWithin = 3 * time.Second
	// maxTries bounds the paths that one build tries.
	maxTries = 12
	// stateEvery is how often a route's state is asked for while it is waited for,
	// beside the events that tell of it.
	stateEvery = 50 * time.Millisecond
)

// errStillborn says that nothing has come back on a route that was said to be there.
var errStillborn = errors.New("router: the route was set up, but nothing came back on it")

// build adds one route to p: along the best path, and where that fails the next best.
func (r *Router) build(ctx context.Context, p *pool) error {
	r.mu.Lock()
	policy := p.policy
	c := r.newChooser(p.peer, policy)
	c.taken, c.before = p.taken(), p.known
	// What traffic is spread over has to be disjoint; the one in reserve should be.
	c.strict = p.good() > 0 && p.good() < policy.Routes
	c.desperate = p.good() == 0
	r.mu.Unlock()
	defer func() {
		if len(c.all) > 0 {
			r.mu.Lock()
			p.known = c.all
			r.mu.Unlock()
		}
	}()
	var last error
	for range maxTries {
		k, err := c.next(ctx)
		if err != nil {
			return cmp.Or(last, err)
		}
		if last = r.try(ctx, p, k); last == nil {
			return nil
		}
		if ctx.Err() != nil || !r.learn(c, k, last) {
			return last
		}
	}
	return last
}

// try makes a route along k for p and waits until it is up. A setup node whose route
// does not come up is passed over for another one.
func (r *Router) try(ctx context.Context, p *pool, k *candidate) error {
	for {
		node, err := r.tryOnce(ctx, p, k)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errStillborn) && ctx.Err() == nil:
			k.not = append(k.not, node)
		case errors.Is(err, setup.ErrNoNode) && len(k.not) > 0:
			return errStillborn
		default:
			return err
		}
	}
}

func (r *Router) tryOnce(ctx context.Context, p *pool, k *candidate) (node cipher.PubKey, err error) {
	r.mu.Lock()
	mux, alone := p.policy.Routes > 1, len(p.routes) == 0
	r.mu.Unlock()
	req := setup.Request{Class: p.class, Mux: mux, Not: k.not}
	for _, h := range k.path.Hops {
		// Any link between the two will do, whatever type the path was found by.
		req.Path = append(req.Path, setup.Step{PK: h.To})
	}
	route, err := k.member.Setup.Establish(ctx, req)
	if err != nil {
		return node, err
	}
	info, err := r.cfg.Sessions.AddRoute(session.RouteSpec{
		Peer: p.peer, Class: p.class, TTL: route.TTL,
		Out: route.Out, OutLabel: route.OutLabel, In: route.In, InLabel: route.InLabel,
	})
	if err != nil {
		return route.Node, fmt.Errorf("router: %w", err)
	}
	if mux {
		r.cfg.Sessions.SetMux(p.peer, p.class, true)
	}
	if err := r.awaitUp(ctx, p, info.ID, alone); err != nil {
		_ = r.cfg.Sessions.RemoveRoute(info.ID)
		return route.Node, err
	}
	r.mu.Lock()
	if p.gone {
		r.mu.Unlock()
		_ = r.cfg.Sessions.RemoveRoute(info.ID)
		return route.Node, fmt.Errorf("router: the routes to %s have been removed", p.peer)
	}
	now := time.Now()
	n := &kept{
		p: p, id: info.ID, deployment: k.member.Name, node: route.Node, hops: slices.Clone(k.path.Hops),
		state: session.StateUp, since: now, changed: now,
	}
	p.routes = append(p.routes, n)
	r.byRoute[n.id] = n
	r.mu.Unlock()
	r.log.Info().Stringer("peer", p.peer).Uint32("class", p.class).Int("hops", len(n.hops)).Msg("route up")
	return route.Node, nil
}

// awaitUp waits until the route is up; alone says that its session has no other. The handshake of a new session is hurried, for
// otherwise the side with the greater key would leave the first move to the other.
func (r *Router) awaitUp(ctx context.Context, p *pool, id uint64, alone bool) error {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	s, err := r.cfg.Sessions.DialClass(ctx, p.peer, p.class)
	if err != nil {
		return fmt.Errorf("%w: %w", errStillborn, err)
	}
	if p.class != 0 && alone && s.Up() {
		return nil // by this route: there is no other
	}
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	for {
		for _, in := range r.cfg.Sessions.Routes() {
			if in.ID == id && in.State == session.StateUp {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errStillborn
		}
	}
}

// learn takes from err what k's path is to be blamed for, and reports whether other
// paths are worth a try.
func (r *Router) learn(c *chooser, k *candidate, err error) bool {
	var e *setup.Error
	switch {
	case errors.Is(err, errStillborn):
		for _, pk := range middle(k.path.Hops) {
			r.penalties.add(visor(pk), penaltyStillborn)
		}
		return true
	case errors.Is(err, setup.ErrNoNode):
		c.failing[k.member.Name] = true
		return true
	case !errors.As(err, &e):
		return false
	case e.At.IsZero() || !onPath(k, e.At) && e.At != r.cfg.Key:
		c.failing[k.member.Name] = true // all of its setup nodes
		return true
	case e.Code == setup.CodeNoLink && !besideOnPath(k, e.At, e.Neighbour):
		r.penalties.add(visor(e.At), penaltyRefused) // it, or the setup node, talks nonsense
	case e.Code == setup.CodeNoLink:
		r.penalties.add(linkBetween(e.At, e.Neighbour), penaltyNoLink)
		return true
	case e.At == c.peer || e.At == r.cfg.Key:
		return false // all paths end there
	case e.Code == setup.CodeUnreachable:
		r.penalties.add(visor(e.At), penaltySilent)
	default:
		r.penalties.add(visor(e.At), penaltyRefused)
	}
	return true
}

// unanswered reports whether a build failed with err because somebody did not answer, who
// may in a moment: a setup node, a visor on the path, or all path finders.
func unanswered(err error) bool {
	return errors.Is(err, &setup.Error{Code: setup.CodeUnreachable}) || errors.Is(err, errNoFinder)
}

func onPath(k *candidate, pk cipher.PubKey) bool {
	for _, h := range k.path.Hops {
		if h.To == pk {
			return true
		}
	}
	return false
}

// besideOnPath reports whether a and b are neighbours on the path.
func besideOnPath(k *candidate, a, b cipher.PubKey) bool {
	return slices.ContainsFunc(k.path.Hops, func(h graph.Hop) bool {
		return h.From == a && h.To == b || h.From == b && h.To == a
	})
}
