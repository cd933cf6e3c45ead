package api

import (
	"context"
	"net/http"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Transports are a visor's transports: the links that it makes for itself by key, and
// registers in its deployments. Adding one returns when it is up, or says why not.
type Transports interface {
	Transports(ctx context.Context) ([]Transport, error)
	AddTransport(ctx context.Context, spec TransportSpec, save bool) (Transport, error)
	RemoveTransport(ctx context.Context, id TransportID, save bool) error
	// TransportTypes says which types of transports the visor can make now.
	TransportTypes(ctx context.Context) ([]TransportType, error)
	// AutoTransports tells about the transports that the visor makes by itself, and
	// SetAutoTransports switches them on and off.
	AutoTransports(ctx context.Context) (Auto, error)
	SetAutoTransports(ctx context.Context, on, save bool) error
}

// TransportSpec asks for a transport to a visor.
type TransportSpec struct {
	PK    cipher.PubKey `json:"pk"`
	Type  string        `json:"type,omitempty"`  // SUDPH, STCPR or DMSG; none is the best that works
	Label string        `json:"label,omitempty"` // for people
}

// TransportID names a transport by its id, or by key and type.
type TransportID struct {
	ID   string        `json:"id,omitempty"`
	PK   cipher.PubKey `json:"pk,omitzero"`
	Type string        `json:"type,omitempty"` // none is all types
}

// Transport is a transport, and how it does.
type Transport struct {
	ID         string        `json:"id"`
	PK         cipher.PubKey `json:"pk"`
	Type       string        `json:"type"`
	Label      string        `json:"label"`
	State      string        `json:"state"`      // as a link's
	Why        string        `json:"why"`        // it is wanted: "persistent", "automatic", "needed" or "inbound"
	Registered []string      `json:"registered"` // names of the deployments in whose transport discovery it stands
	Addr       string        `json:"addr"`       // where the neighbour is; "" is not known, or through relays
	Since      *time.Time    `json:"since"`      // when it came up; null if it is not
	RTTMicros  int64         `json:"rtt_us"`     // 0 is not known
	LossPPM    int64         `json:"loss_ppm"`   // packets lost of a million
	Mbps       float64       `json:"mbps"`       // that it has delivered when it was busy; 0 is not known
	SentBytes  uint64        `json:"sent_bytes"` //
	RecvBytes  uint64        `json:"recv_bytes"` //
	LastError  string        `json:"last_error"` // why it is not up
	Persistent bool          `json:"persistent"` // kept up whatever happens
	Automatic  bool          `json:"automatic"`  // made by the visor itself
}

// TransportType is a type of transports, and whether the visor can make such.
type TransportType struct {
	Type      string `json:"type"`
	Available bool   `json:"available"`
	Text      string `json:"text"` // what it is, or why there is none
}

// Auto is what a visor does by itself.
type Auto struct {
	On     bool           `json:"on"`
	Wanted map[string]int `json:"wanted"` // transports by type
	Have   map[string]int `json:"have"`
	// Public says whether the visor offers itself to others as a public one, and
	// PublicWhy why it is not listed as such where it wants to be.
	Public    bool   `json:"public"`
	PublicWhy string `json:"public_why"`
}

// autoSwitch is the body that switches automatic transports.
type autoSwitch struct {
	On bool `json:"on"`
}

// Validate returns all that is wrong with s.
func (s TransportSpec) Validate() error {
	var ps Problems
	needKey(&ps, "pk", s.PK)
	if s.Type != "" {
		checkType(&ps, s.Type)
	}
	if len(s.Label) > MaxLabel {
		ps.Add("label", "has %d bytes; want at most %d", len(s.Label), MaxLabel)
	}
	return ps.Err()
}

// MaxLabel bounds the label of a transport, in bytes.
const MaxLabel = 64

// Validate returns all that is wrong with id.
func (id TransportID) Validate() error {
	var ps Problems
	switch {
	case id.ID == "":
		needKey(&ps, "pk", id.PK)
	case !id.PK.IsZero() || id.Type != "":
		ps.Add("id", "names a transport already; leave out pk and type")
	}
	if id.Type != "" {
		checkType(&ps, id.Type)
	}
	return ps.Err()
}

// transportEndpoints are the calls of Transports.
func transportEndpoints(v Transports) table {
	return table{
		"/v1/transports": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.Transports(ctx)) }),
			http.MethodPost: with(func(ctx context.Context, c Change[TransportSpec]) (any, error) {
				return v.AddTransport(ctx, c.Item, c.Save)
			}),
			http.MethodDelete: with(func(ctx context.Context, c Change[TransportID]) (any, error) {
				return none{}, v.RemoveTransport(ctx, c.Item, c.Save)
			}),
		},
		"/v1/transports/types": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return list(v.TransportTypes(ctx)) }),
		},
		"/v1/transports/auto": {
			http.MethodGet: asks(func(ctx context.Context) (any, error) { return v.AutoTransports(ctx) }),
			http.MethodPost: with(func(ctx context.Context, c Change[autoSwitch]) (any, error) {
				return none{}, v.SetAutoTransports(ctx, c.Item.On, c.Save)
			}),
		},
	}
}

// Transports implements Commands.
func (c *Client) Transports(ctx context.Context) ([]Transport, error) {
	return get[[]Transport](ctx, c, "/v1/transports")
}

// AddTransport implements Commands.
func (c *Client) AddTransport(ctx context.Context, spec TransportSpec, save bool) (Transport, error) {
	return post[Transport](ctx, c, "/v1/transports", Change[TransportSpec]{spec, save})
}

// RemoveTransport implements Commands.
func (c *Client) RemoveTransport(ctx context.Context, id TransportID, save bool) error {
	return c.call(ctx, http.MethodDelete, "/v1/transports", Change[TransportID]{id, save}, &none{})
}

// TransportTypes implements Commands.
func (c *Client) TransportTypes(ctx context.Context) ([]TransportType, error) {
	return get[[]TransportType](ctx, c, "/v1/transports/types")
}

// AutoTransports implements Commands.
func (c *Client) AutoTransports(ctx context.Context) (Auto, error) {
	return get[Auto](ctx, c, "/v1/transports/auto")
}

// SetAutoTransports implements Commands.
func (c *Client) SetAutoTransports(ctx context.Context, on, save bool) error {
	_, err := post[none](ctx, c, "/v1/transports/auto", Change[autoSwitch]{autoSwitch{on}, save})
	return err
}
