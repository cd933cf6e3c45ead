package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/session"
)

// A PathFinder finds paths through a deployment's network: a
// *deployment.RouteFinder, or a *Local.
type PathFinder interface {
	Paths(ctx context.Context, q graph.Query) ([]graph.Path, error)
}

// A Setup makes routes, as *setup.Client does.
type Setup interface {
	Establish(ctx context.Context, req setup.Request) (setup.Route, error)
	// Warm opens the streams that the next Establish needs.
	Warm(ctx context.Context)
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
	SessionClass(pk cipher.PubKey, class uint32) (*session.Session, bool)
	DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (*session.Session, error)
}

// A Config describes a Router.
type Config struct {
	Key        cipher.PubKey
	Members    []Member // SetMembers changes them
	Transports Transports
	Sessions   Sessions
	Links      *link.Engine    // for Trace
	Forward    *forward.Engine // for Trace
	// Busy reports whether streams are open in a class; nil: by traffic alone. It must not
	// call the Router.
	Busy func(pk cipher.PubKey, class uint32) bool
	Log  zerolog.Logger
}

// Validate reports all that is missing in c.
func (c *Config) Validate() error {
	var faults []error
	if c.Key.IsZero() {
		faults = append(faults, errors.New("router: the visor's key is missing"))
	}
	if c.Transports == nil || c.Sessions == nil || c.Links == nil || c.Forward == nil {
		faults = append(faults, errors.New("router: Transports, Sessions, Links and Forward are needed"))
	}
	return errors.Join(faults...)
}

// A Router keeps visors reachable. Its methods may be called concurrently.
type Router struct {
	cfg       Config
	penalties *penalties
	log       zerolog.Logger

	// ctx ends with Run; what runs in the background is counted.
	ctx        context.Context
	stop       context.CancelFunc
	background sync.WaitGroup
	kick       chan struct{} // has Run look at once

	mu      sync.Mutex
	joined  []Member
	pools   map[poolKey]*pool
	byRoute map[uint64]*kept
	closed  bool
	// lastBuild is when a route was last made, or New called.
	lastBuild time.Time
	// linkTried is when a direct link to a peer was last tried beside routes.
	linkTried map[cipher.PubKey]time.Time
}

// New returns a Router; Run keeps its routes.
func New(cfg Config) (*Router, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Router{
		cfg: cfg, penalties: newPenalties(), log: cfg.Log, kick: make(chan struct{}, 1),
		pools: map[poolKey]*pool{}, byRoute: map[uint64]*kept{}, linkTried: map[cipher.PubKey]time.Time{},
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.lastBuild = time.Now()
	r.SetMembers(cfg.Members)
	return r, nil
}

// lookEvery is how often Run looks at all pools where nothing calls it.
const lookEvery = time.Second

// Run keeps routes supplied until ctx ends, then removes them and returns when nothing
// of the Router runs any more. Ensure fails from then on.
func (r *Router) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	warm := time.NewTicker(warmEvery)
	defer warm.Stop()
	r.warm()
	for {
		select {
		case <-ctx.Done():
			r.close()
			return nil
		case <-warm.C:
			r.warm()
		case <-tick.C:
		case <-r.kick:
		}
		r.look(time.Now())
	}
}

// warmEvery is how often streams to setup nodes are used, which end after idle 90 s
// (package dmsghttp); warmFor how long after the start or the last build.
const (
	warmEvery = time.Minute
	warmFor   = 10 * time.Minute
)

// warm keeps the streams to setup nodes open while they may be needed.
func (r *Router) warm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.lastBuild) > warmFor {
		return
	}
	for _, m := range r.joined {
		r.startLocked(m.Setup.Warm)
	}
}

// close ends what runs, and removes all routes.
func (r *Router) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.background.Wait()
	r.mu.Lock()
	var ids []uint64
	for _, p := range r.pools {
		ids = append(ids, r.dropLocked(p)...)
	}
	r.mu.Unlock()
	r.removeRoutes(ids)
}

// start runs f in the background, unless the Router is closed.
func (r *Router) start(f func(ctx context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.startLocked(f)
}

func (r *Router) startLocked(f func(ctx context.Context)) bool {
	if r.closed {
		return false
	}
	r.background.Go(func() { f(r.ctx) })
	return true
}

// SetMembers replaces the deployments. Routes that exist stay.
func (r *Router) SetMembers(ms []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = slices.Clone(ms)
}

func (r *Router) members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.joined
}

func (r *Router) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// OnRoute hears what becomes of routes: session.Config.OnRoute. It returns at once.
func (r *Router) OnRoute(info session.RouteInfo, ev session.RouteEvent) {
	r.mu.Lock()
	k := r.byRoute[info.ID]
	if k != nil {
		r.noteLocked(k, info.State, ev.Gone(), ev.Gone() && ev != session.RouteExpired)
	}
	r.mu.Unlock()
	if k != nil {
		r.wake()
	}
}

func (r *Router) removeRoutes(ids []uint64) {
	for _, id := range ids {
		_ = r.cfg.Sessions.RemoveRoute(id) // it may have gone by itself
	}
}

// Remove drops the routes to pk of one class, which streams under way do not survive.
// It returns how many there were.
func (r *Router) Remove(pk cipher.PubKey, class uint32) int {
	r.mu.Lock()
	var ids []uint64
	for _, p := range r.pools {
		if p.peer == pk && p.class == class {
			ids = append(ids, r.dropLocked(p)...)
		}
	}
	r.mu.Unlock()
	r.removeRoutes(ids)
	return len(ids)
}
