package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// MaxHops is the most hops that a path can have.
const MaxHops = 16

// MaxMuxRoutes is the most routes over which streams to one peer are spread.
const MaxMuxRoutes = 8

// MaxPaths is the most paths that one search returns.
const MaxPaths = 16

// Paths are routes that the visor finds and sets up by itself, over several hops.
type Paths interface {
	// Find returns paths to a visor, the cheapest first, without setting them up.
	Find(ctx context.Context, spec FindSpec) ([]Path, error)
	// Connect makes sure that a visor can be reached as the policy wants, and returns
	// the routes to it.
	Connect(ctx context.Context, spec ConnectSpec) ([]Path, error)
	// Disconnect gives up the routes to a visor that the visor has set up.
	Disconnect(ctx context.Context, pk cipher.PubKey) error
	// Active returns the routes that begin here, set up by the visor itself.
	Active(ctx context.Context) ([]Path, error)
	// Trace measures each hop of the route to a visor.
	Trace(ctx context.Context, spec ConnectSpec) ([]TraceHop, error)
}

// RoutePolicy says how streams are to go. The zero value leaves it to the visor's
// configuration.
type RoutePolicy struct {
	MinHops   int             `json:"min_hops,omitempty"`   // 1 lets direct links do; 0 is the default
	MaxHops   int             `json:"max_hops,omitempty"`   // 0 is the default
	MuxRoutes int             `json:"mux_routes,omitempty"` // disjoint routes to spread over; 0 is the default
	Avoid     []cipher.PubKey `json:"avoid,omitempty"`      // visors not to pass
	Prefer    []cipher.PubKey `json:"prefer,omitempty"`     // visors to pass where that is possible
}

// IsZero says whether p leaves everything to the configuration.
func (p RoutePolicy) IsZero() bool {
	return p.MinHops == 0 && p.MaxHops == 0 && p.MuxRoutes == 0 && len(p.Avoid) == 0 && len(p.Prefer) == 0
}

// Path finders.
const (
	FinderService = "service" // the route finders of the deployments
	FinderLocal   = "local"   // the visor itself, from the transport discoveries
)

// FindSpec asks for paths to a visor.
type FindSpec struct {
	PK     cipher.PubKey `json:"pk"`
	Policy RoutePolicy   `json:"policy"`
	Count  int           `json:"count,omitempty"`  // of paths; 0 is 3
	Finder string        `json:"finder,omitempty"` // FinderService or FinderLocal; "" is the visor's
}

// ConnectSpec asks for routes to a visor.
type ConnectSpec struct {
	PK     cipher.PubKey `json:"pk"`
	Policy RoutePolicy   `json:"policy"`
}

// States of a path that is in use.
const (
	PathUp      = "up"
	PathStandby = "standby" // kept warm for the day on which the one in use fails
	PathSuspect = "suspect" // it does not answer
)

// Path is a way to a visor.
type Path struct {
	PK   cipher.PubKey `json:"pk"` // the visor at the other end
	Hops []PathHop     `json:"hops"`
	Cost float64       `json:"cost"` // the smaller the better; 0 is not known

	// What follows is known of routes in use.
	State     string     `json:"state,omitempty"`
	Class     uint32     `json:"class,omitempty"` // routes of one class are used together
	RTTMicros int64      `json:"rtt_us,omitempty"`
	LossPPM   int64      `json:"loss_ppm,omitempty"`
	Mbps      float64    `json:"mbps,omitempty"`
	SentBytes uint64     `json:"sent_bytes,omitempty"`
	RecvBytes uint64     `json:"recv_bytes,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
}

// PathHop is a transport of a path.
type PathHop struct {
	From cipher.PubKey `json:"from"`
	To   cipher.PubKey `json:"to"`
	Type string        `json:"type"`
	ID   string        `json:"transport,omitempty"`
}

// TraceHop is how far a hop of a route is away.
type TraceHop struct {
	Hop       int           `json:"hop"` // from 1
	PK        cipher.PubKey `json:"pk"`
	Type      string        `json:"type"`   // of the transport to it
	RTTMicros int64         `json:"rtt_us"` // there and back from here; 0 is no answer
	Error     string        `json:"error,omitempty"`
}

// Validate returns all that is wrong with p.
func (p RoutePolicy) Validate() error {
	var ps Problems
	inRange(&ps, "min_hops", p.MinHops, MaxHops)
	inRange(&ps, "max_hops", p.MaxHops, MaxHops)
	inRange(&ps, "mux_routes", p.MuxRoutes, MaxMuxRoutes)
	if p.MaxHops != 0 && p.MinHops > p.MaxHops {
		ps.Add("max_hops", "is %d, less than min_hops, which is %d", p.MaxHops, p.MinHops)
	}
	for i, pk := range p.Avoid {
		needKey(&ps, fmt.Sprintf("avoid[%d]", i), pk)
	}
	for i, pk := range p.Prefer {
		needKey(&ps, fmt.Sprintf("prefer[%d]", i), pk)
	}
	return ps.Err()
}

func inRange(ps *Problems, path string, n, high int) {
	if n < 0 || n > high {
		ps.Add(path, "is %d; want 0 to %d", n, high)
	}
}

// Validate returns all that is wrong with s.
func (s FindSpec) Validate() error {
	var ps Problems
	needKey(&ps, "pk", s.PK)
	ps.Under("policy", s.Policy.Validate())
	inRange(&ps, "count", s.Count, MaxPaths)
	if s.Finder != "" && s.Finder != FinderService && s.Finder != FinderLocal {
		ps.Add("finder", "is %q; want %q or %q", s.Finder, FinderService, FinderLocal)
	}
	return ps.Err()
}

// Validate returns all that is wrong with s.
func (s ConnectSpec) Validate() error {
	var ps Problems
	needKey(&ps, "pk", s.PK)
	ps.Under("policy", s.Policy.Validate())
	return ps.Err()
}

// keyOnly is the body of calls that need nothing but a key.
type keyOnly struct {
	PK cipher.PubKey `json:"pk"`
}

// Validate returns what is wrong with k.
func (k keyOnly) Validate() error {
	var ps Problems
	needKey(&ps, "pk", k.PK)
	return ps.Err()
}

// pathEndpoints are the calls of Paths.
func pathEndpoints(v Paths) table {
	return table{
		"/v1/paths": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.Active(ctx)) }),
			http.MethodPost: with(func(ctx context.Context, s ConnectSpec) (any, error) {
				return list(v.Connect(ctx, s))
			}),
			http.MethodDelete: with(func(ctx context.Context, k keyOnly) (any, error) {
				return none{}, v.Disconnect(ctx, k.PK)
			}),
		},
		"/v1/routes/find":  {http.MethodPost: with(func(ctx context.Context, s FindSpec) (any, error) { return list(v.Find(ctx, s)) })},
		"/v1/routes/trace": {http.MethodPost: with(func(ctx context.Context, s ConnectSpec) (any, error) { return list(v.Trace(ctx, s)) })},
	}
}

// Find implements Commands.
func (c *Client) Find(ctx context.Context, spec FindSpec) ([]Path, error) {
	return post[[]Path](ctx, c, "/v1/routes/find", spec)
}

// Connect implements Commands.
func (c *Client) Connect(ctx context.Context, spec ConnectSpec) ([]Path, error) {
	return post[[]Path](ctx, c, "/v1/paths", spec)
}

// Disconnect implements Commands.
func (c *Client) Disconnect(ctx context.Context, pk cipher.PubKey) error {
	return c.call(ctx, http.MethodDelete, "/v1/paths", keyOnly{pk}, &none{})
}

// Active implements Commands.
func (c *Client) Active(ctx context.Context) ([]Path, error) { return get[[]Path](ctx, c, "/v1/paths") }

// Trace implements Commands.
func (c *Client) Trace(ctx context.Context, spec ConnectSpec) ([]TraceHop, error) {
	return post[[]TraceHop](ctx, c, "/v1/routes/trace", spec)
}
