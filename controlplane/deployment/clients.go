package deployment

import (
	"context"
	"errors"
	"net/netip"

	"github.com/skyminer/skywire/controlplane/graph"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// RegisterRequest is the body of POST /transports/. (A bare array of entries is what
// deployed visors send; it gets an array back.)
type RegisterRequest struct {
	Instance
	Entries []SignedTransport `json:"entries"`
}

// RegisterReply says what became of a registration.
type RegisterReply struct {
	// TTL is for how many seconds it holds without a heartbeat.
	TTL int `json:"ttl"`
	// Listed are those that both edges have now registered.
	Listed []TransportID `json:"listed"`
	// Refused are those that were not taken, with the reason.
	Refused []Refusal `json:"refused,omitempty"`
}

// A Refusal says why one transport of several was not taken.
type Refusal struct {
	ID   TransportID `json:"id"`
	Code Code        `json:"code"`
	Text string      `json:"error"`
}

// HeartbeatRequest is the body of POST /transports/heartbeat.
type HeartbeatRequest struct {
	Instance
	Stats []TransportStats `json:"stats"`
}

// HeartbeatReply is the answer to a HeartbeatRequest.
type HeartbeatReply struct {
	TTL     int           `json:"ttl"`     // seconds
	Unknown []TransportID `json:"unknown"` // those of the stats that must be registered again
}

// A TransportDiscovery is the client of one.
type TransportDiscovery struct{}

// NewTransportDiscovery returns a client for the service at url.
func NewTransportDiscovery(url string, c *Caller) *TransportDiscovery { return &TransportDiscovery{} }

// Register registers transports of which the caller is an edge.
func (t *TransportDiscovery) Register(ctx context.Context, in Instance, entries []SignedTransport) (RegisterReply, error) {
	return RegisterReply{}, errors.New("not yet")
}

// Heartbeat refreshes all that the caller has registered and reports stats, one for
// each transport; it returns those of them that must be registered again.
func (t *TransportDiscovery) Heartbeat(ctx context.Context, in Instance, stats []TransportStats) (unknown []TransportID, err error) {
	return nil, errors.New("not yet")
}

// Delete removes a transport of which the caller is an edge.
func (t *TransportDiscovery) Delete(ctx context.Context, id TransportID) error {
	return errors.New("not yet")
}

// Transport returns a listed transport, or ErrNotFound.
func (t *TransportDiscovery) Transport(ctx context.Context, id TransportID) (SignedTransport, error) {
	return SignedTransport{}, errors.New("not yet")
}

// Edge returns the listed transports of pk; none is no error.
func (t *TransportDiscovery) Edge(ctx context.Context, pk cipher.PubKey) ([]SignedTransport, error) {
	return nil, errors.New("not yet")
}

// All returns all listed transports and the tag of that answer. With the tag of an
// earlier answer as since, a list that has not changed comes back as nil with that
// tag.
func (t *TransportDiscovery) All(ctx context.Context, since string) (list []SignedTransport, tag string, err error) {
	return nil, "", errors.New("not yet")
}

// A Bind says where a visor listens for STCPR.
type Bind struct {
	Port      uint16
	Addresses []string // IP addresses of its interfaces
}

// BindRequest is the body of POST /bind/stcpr. Deployed visors send no Instance.
type BindRequest struct {
	Port      string   `json:"port"` // decimal, as deployed
	Addresses []string `json:"addresses"`
	Instance  string   `json:"instance,omitempty"`
	Started   int64    `json:"started,omitempty"`
}

// Bound is the answer to a bind.
type Bound struct {
	RemoteAddr netip.AddrPort `json:"remote_addr"` // as the service sees it
	Reachable  bool           `json:"reachable"`   // the service could dial it
	Why        string         `json:"why,omitempty"`
	TTL        int            `json:"ttl"` // seconds; bind again well before
}

// A Record is where a visor can be dialled.
type Record struct {
	RemoteAddr netip.AddrPort
	Addresses  []netip.AddrPort
}

// ResolveReply is a Record on the wire.
type ResolveReply struct {
	RemoteAddr string   `json:"remote_addr"` // ip or ip:port
	Port       string   `json:"port"`
	Addresses  []string `json:"addresses"` // IP addresses
}

// A BoundKeys lists the keys that an address resolver knows, by type.
type BoundKeys struct {
	STCPR []cipher.PubKey `json:"stcpr"`
	SUDPH []cipher.PubKey `json:"sudph"`
}

// An AddressResolver is the client of one.
type AddressResolver struct{}

// NewAddressResolver returns a client for the service at url.
func NewAddressResolver(url string, c *Caller) *AddressResolver { return &AddressResolver{} }

// Bind says where the caller listens: POST /bind/stcpr.
func (a *AddressResolver) Bind(ctx context.Context, in Instance, b Bind) (Bound, error) {
	return Bound{}, errors.New("not yet")
}

// Unbind takes the caller's record back: DELETE /bind/stcpr.
func (a *AddressResolver) Unbind(ctx context.Context) error { return errors.New("not yet") }

// Resolve returns where pk listens, or ErrNotFound: GET /resolve/stcpr/{pk}, signed.
func (a *AddressResolver) Resolve(ctx context.Context, pk cipher.PubKey) (Record, error) {
	return Record{}, errors.New("not yet")
}

// Transports lists who can be resolved: GET /transports.
func (a *AddressResolver) Transports(ctx context.Context) (BoundKeys, error) {
	return BoundKeys{}, errors.New("not yet")
}

// A RouteFinder is the client of one.
type RouteFinder struct{}

// NewRouteFinder returns a client for the service at url.
func NewRouteFinder(url string, c *Caller) *RouteFinder { return &RouteFinder{} }

// Paths asks for paths; ErrNotFound where there is none.
func (r *RouteFinder) Paths(ctx context.Context, q graph.Query) ([]graph.Path, error) {
	return nil, errors.New("not yet")
}

// A ServiceAddr is where a service is: "<pk>:<port>".
type ServiceAddr struct {
	PK   cipher.PubKey
	Port uint16
}

// Types of services.
const (
	ServiceVPN      = "vpn"
	ServiceSkysocks = "skysocks"
	ServiceProxy    = "proxy"
	ServiceVisor    = "visor" // a public visor
)

// A Service is a record of the service discovery.
type Service struct {
	Address       ServiceAddr  `json:"address"`
	Type          string       `json:"type"`
	Geo           *Geo         `json:"geo,omitempty"`
	DisplayNodeIP bool         `json:"display_node_ip,omitempty"`
	Version       string       `json:"version,omitempty"`
	LocalIPs      []string     `json:"local_ips,omitempty"`
	Info          *ServiceInfo `json:"info,omitempty"`
}

// A Geo says where on earth something is.
type Geo struct {
	Lat     float64 `json:"lat"` // degrees
	Lon     float64 `json:"lon"`
	Country string  `json:"country,omitempty"` // ISO 3166-1 alpha-2
	Region  string  `json:"region,omitempty"`
}

// ServiceInfo is what is known of a service's quality.
type ServiceInfo struct {
	Latency     float64 `json:"latency,omitempty"` // ms
	Uptime      float64 `json:"uptime,omitempty"`  // percent
	Connections int     `json:"connections,omitempty"`
}

// A Filter selects services; Type is required.
type Filter struct {
	Type, Version, Country string
	Quantity               int // at most; 0: all
}

// A ServiceDiscovery is the client of one.
type ServiceDiscovery struct{}

// NewServiceDiscovery returns a client for the service at url.
func NewServiceDiscovery(url string, c *Caller) *ServiceDiscovery { return &ServiceDiscovery{} }

// Services lists services: GET /api/services?type=&version=&country=&quantity=.
func (s *ServiceDiscovery) Services(ctx context.Context, f Filter) ([]Service, error) {
	return nil, errors.New("not yet")
}

// Register registers a service of the caller and returns it as the discovery has it,
// with its place: POST /api/services. Repeat it each minute.
func (s *ServiceDiscovery) Register(ctx context.Context, sv Service) (Service, error) {
	return Service{}, errors.New("not yet")
}

// Delete takes a service back: DELETE /api/services/{addr}?type=.
func (s *ServiceDiscovery) Delete(ctx context.Context, addr ServiceAddr, typ string) error {
	return errors.New("not yet")
}

// An Uptime is a visor's record at an uptime tracker.
type Uptime struct {
	PK      cipher.PubKey     `json:"pk"`
	Up      float64           `json:"up"`   // seconds
	Down    float64           `json:"down"` // seconds
	Pct     float64           `json:"pct"`
	On      bool              `json:"on"`
	Version string            `json:"version,omitempty"`
	Daily   map[string]string `json:"daily,omitempty"` // 2006-01-02 (UTC) → percent
}

// An UptimeQuery selects uptimes.
type UptimeQuery struct {
	Visors []cipher.PubKey // none: all
	Status string          // "on", "off" or "": both
	Daily  bool            // with Uptime.Daily (v=v2)
	// Start and End are months, 2006-01; "": the present one.
	Start, End string
}

// An UptimeTracker is the client of one.
type UptimeTracker struct{}

// NewUptimeTracker returns a client for the service at url.
func NewUptimeTracker(url string, c *Caller) *UptimeTracker { return &UptimeTracker{} }

// Update says that the caller is up: GET /v4/update?version=&instance=&started=, each
// five minutes.
func (u *UptimeTracker) Update(ctx context.Context, in Instance, version string) error {
	return errors.New("not yet")
}

// Uptimes lists uptimes: GET /uptimes?v=&visors=&status=&startDate=&endDate=.
func (u *UptimeTracker) Uptimes(ctx context.Context, q UptimeQuery) ([]Uptime, error) {
	return nil, errors.New("not yet")
}
