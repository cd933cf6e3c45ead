package api

import (
	"context"
	"net/http"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Services are the services of the visor's deployments, asked by way of the visor, and
// the look at what is wrong with it all.
type Services interface {
	// Health asks each service of each deployment how it does.
	Health(ctx context.Context) ([]ServiceHealth, error)
	// Registered returns what the transport discoveries have, of one visor or all.
	Registered(ctx context.Context, q ServiceQuery) ([]RegisteredTransport, error)
	// Addresses returns what the address resolvers have about a visor.
	Addresses(ctx context.Context, q ServiceQuery) ([]Address, error)
	// Offers returns what the service discoveries list.
	Offers(ctx context.Context, q OfferQuery) ([]Offer, error)
	// Uptimes returns what the uptime trackers know.
	Uptimes(ctx context.Context, q ServiceQuery) ([]Uptime, error)
	// Doctor looks for whatever keeps the visor from working well.
	Doctor(ctx context.Context) (Report, error)
}

// ServiceHealth is how a service does.
type ServiceHealth struct {
	Deployment string `json:"deployment"`
	Service    string `json:"service"` // "transport discovery" and the like
	URL        string `json:"url"`
	OK         bool   `json:"ok"`
	RTTMicros  int64  `json:"rtt_us"`  // of a question and its answer
	Version    string `json:"version"` // as it says itself
	SkewMillis int64  `json:"skew_ms"` // how far its clock is ahead of ours
	Error      string `json:"error"`
}

// ServiceQuery asks the services of one deployment or of all, about one visor or all.
type ServiceQuery struct {
	Deployment string        `json:"deployment,omitempty"` // its name or key; "" is all
	PK         cipher.PubKey `json:"pk,omitzero"`
}

// RegisteredTransport is a transport as a transport discovery lists it.
type RegisteredTransport struct {
	Deployment string          `json:"deployment"`
	ID         string          `json:"id"`
	Edges      []cipher.PubKey `json:"edges"`
	Type       string          `json:"type"`
	Label      string          `json:"label"`
	Registered *time.Time      `json:"registered"`
	RTTMicros  int64           `json:"rtt_us"`
	LossPPM    int64           `json:"loss_ppm"`
	Mbps       float64         `json:"mbps"`
}

// Address is what an address resolver has about a visor.
type Address struct {
	Deployment string        `json:"deployment"`
	PK         cipher.PubKey `json:"pk"`
	Remote     string        `json:"remote"` // as the resolver sees it, with the port that it listens on
	Local      []string      `json:"local"`  // as it says itself
	Error      string        `json:"error,omitempty"`
}

// OfferQuery asks for offers.
type OfferQuery struct {
	Deployment string `json:"deployment,omitempty"` // its name or key; "" is all
	Type       string `json:"type"`                 // "visor", "vpn", "proxy" and the like
	Country    string `json:"country,omitempty"`    // two letters
	Count      int    `json:"count,omitempty"`      // at most; 0 is all
}

// Offer is a service that a visor offers to all.
type Offer struct {
	Deployment string `json:"deployment"`
	Address    string `json:"address"` // <pk>:<port>
	Type       string `json:"type"`
	Version    string `json:"version"`
	Country    string `json:"country"`
	Region     string `json:"region"`
}

// Uptime is how long a visor was online.
type Uptime struct {
	Deployment string        `json:"deployment"`
	PK         cipher.PubKey `json:"pk"`
	Online     bool          `json:"online"`
	Percent    float64       `json:"percent"` // of this month
	Version    string        `json:"version"`
}

// Verdicts of a check.
const (
	CheckOK   = "ok"
	CheckWarn = "warn" // it works, but not as well as it could
	CheckFail = "fail"
	CheckSkip = "skip" // it does not apply here
)

// A Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"`             // what was found
	Advice  string `json:"advice,omitempty"` // what to do about it
}

// A Report is what a look at the visor and its network found.
type Report struct {
	Checks []Check `json:"checks"`
}

// Failed says whether something is wrong.
func (r Report) Failed() bool {
	for _, c := range r.Checks {
		if c.Verdict == CheckFail {
			return true
		}
	}
	return false
}

// Validate returns what is wrong with q.
func (q OfferQuery) Validate() error {
	var ps Problems
	if q.Type == "" {
		ps.Add("type", "is missing: visor, vpn, proxy or another type of offers")
	}
	inRange(&ps, "count", q.Count, 1<<20)
	return ps.Err()
}

// serviceEndpoints are the calls of Services.
func serviceEndpoints(v Services) table {
	return table{
		"/v1/services/health":     {http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.Health(ctx)) })},
		"/v1/services/transports": {http.MethodPost: with(func(ctx context.Context, q ServiceQuery) (any, error) { return list(v.Registered(ctx, q)) })},
		"/v1/services/addresses":  {http.MethodPost: with(func(ctx context.Context, q ServiceQuery) (any, error) { return list(v.Addresses(ctx, q)) })},
		"/v1/services/offers":     {http.MethodPost: with(func(ctx context.Context, q OfferQuery) (any, error) { return list(v.Offers(ctx, q)) })},
		"/v1/services/uptimes":    {http.MethodPost: with(func(ctx context.Context, q ServiceQuery) (any, error) { return list(v.Uptimes(ctx, q)) })},
		"/v1/doctor":              {http.MethodGet: asks(func(ctx context.Context) (any, error) { return v.Doctor(ctx) })},
	}
}

// Health implements Commands.
func (c *Client) Health(ctx context.Context) ([]ServiceHealth, error) {
	return get[[]ServiceHealth](ctx, c, "/v1/services/health")
}

// Registered implements Commands.
func (c *Client) Registered(ctx context.Context, q ServiceQuery) ([]RegisteredTransport, error) {
	return post[[]RegisteredTransport](ctx, c, "/v1/services/transports", q)
}

// Addresses implements Commands.
func (c *Client) Addresses(ctx context.Context, q ServiceQuery) ([]Address, error) {
	return post[[]Address](ctx, c, "/v1/services/addresses", q)
}

// Offers implements Commands.
func (c *Client) Offers(ctx context.Context, q OfferQuery) ([]Offer, error) {
	return post[[]Offer](ctx, c, "/v1/services/offers", q)
}

// Uptimes implements Commands.
func (c *Client) Uptimes(ctx context.Context, q ServiceQuery) ([]Uptime, error) {
	return post[[]Uptime](ctx, c, "/v1/services/uptimes", q)
}

// Doctor implements Commands.
func (c *Client) Doctor(ctx context.Context) (Report, error) {
	return get[Report](ctx, c, "/v1/doctor")
}
