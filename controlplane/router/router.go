// Package router decides which way packets take to a peer: directly, or over routes
// that it has made along paths of its choice, and kept, replaced and spread over as a
// Policy asks for (docs/routing.md).
package router

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/session"
)

// A Policy says what ways to a peer an application accepts. The zero value is whatever
// works.
type Policy struct {
	// MinHops and MaxHops bound the links on the way. Above 1, MinHops excludes direct
	// links. 0: 1 and DefaultMaxHops.
	MinHops, MaxHops int
	// Routes is over how many disjoint routes the traffic is spread; 0: 1.
	Routes int
	// Avoid are keys that no route goes through, Prefer keys that they go through where
	// they can.
	Avoid, Prefer []cipher.PubKey
}

// A PathFinder finds paths through a deployment's network: a
// *deployment.RouteFinder, or a *Local.
type PathFinder interface {
	Paths(ctx context.Context, q graph.Query) ([]graph.Path, error)
}

// A Setup makes routes, as *setup.Client does.
type Setup interface {
	Establish(ctx context.Context, req setup.Request) (setup.Route, error)
}

// A Member is one deployment that the visor is in. Routes never cross from one into
// another.
type Member struct {
	Name   string
	Finder PathFinder
	Setup  Setup
}

// Transports makes links, as *transport.Manager does.
type Transports interface {
	Ensure(ctx context.Context, pk cipher.PubKey) error
}

// Sessions is where routes begin, a *session.Manager.
type Sessions interface {
	AddRoute(spec session.RouteSpec) (session.RouteInfo, error)
	RemoveRoute(id uint64) error
	Routes() []session.RouteInfo
	SetMux(pk cipher.PubKey, class uint32, on bool)
}

// A Config describes a Router.
type Config struct {
	Key        cipher.PubKey
	Members    []Member // SetMembers changes them
	Transports Transports
	Sessions   Sessions
	Links      *link.Engine    // for Trace, and to know our own links
	Forward    *forward.Engine // for Trace
	// Busy reports whether streams are open in a class; nil: by traffic alone.
	Busy func(pk cipher.PubKey, class uint32) bool
	Log  zerolog.Logger
}

// A Router keeps visors reachable. Its methods may be called concurrently.
type Router struct{}

// New returns a Router; Run keeps its routes.
func New(cfg Config) (*Router, error) { return nil, errors.New("not yet") }

// Run keeps routes supplied until ctx ends, and removes them then.
func (r *Router) Run(ctx context.Context) error { return errors.New("not yet") }

// SetMembers replaces the deployments. Routes that exist stay.
func (r *Router) SetMembers(ms []Member) {}

// OnRoute hears what becomes of routes: session.Config.OnRoute. It returns at once.
func (r *Router) OnRoute(info session.RouteInfo, ev session.RouteEvent) {}

// Ensure returns the class under which streams to pk travel as p asks for, when there is
// a way that works; that takes 10 s at most.
func (r *Router) Ensure(ctx context.Context, pk cipher.PubKey, p Policy) (class uint32, err error) {
	return 0, errors.New("not yet")
}

// Find returns the paths to pk that p allows, best first, without making a route.
func (r *Router) Find(ctx context.Context, pk cipher.PubKey, p Policy) ([]Found, error) {
	return nil, errors.New("not yet")
}

// Found is a path and what is known about it.
type Found struct {
	Deployment string
	graph.Path         // Cost is the finder's
	Penalty    float64 // for what has failed on it lately
}

// Trace measures each hop of the way to pk that is in use.
func (r *Router) Trace(ctx context.Context, pk cipher.PubKey) ([]HopRTT, error) {
	return nil, errors.New("not yet")
}

// A HopRTT is a hop of a route as Trace found it.
type HopRTT struct {
	PK  cipher.PubKey
	RTT time.Duration // there and back; 0: see Err
	Err error
}

// Routes returns what the router keeps.
func (r *Router) Routes() []RouteInfo { return nil }

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
	Standby    bool // beyond what the policy asks for, kept warm
	Since      time.Time
	RTT        time.Duration
}

// Remove drops the routes to pk of one class, which streams under way do not survive.
// It returns how many there were.
func (r *Router) Remove(pk cipher.PubKey, class uint32) int { return 0 }
