package deployment

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A ServiceAddr is where a service is: "<pk>:<port>".
type ServiceAddr struct {
	PK   cipher.PubKey
	Port uint16
}

// ParseServiceAddr reads the text form; the port is 1 to 65535.
func ParseServiceAddr(s string) (ServiceAddr, error) {
	key, port, ok := strings.Cut(s, ":")
	pk, err := cipher.ParsePubKeyText(key)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || errPort != nil || n == 0 {
		return ServiceAddr{}, fmt.Errorf("deployment: %.80q is no address of a service; it looks like <key>:<port>", s)
	}
	return ServiceAddr{pk, uint16(n)}, nil
}

// String returns the text form.
func (a ServiceAddr) String() string { return a.PK.String() + ":" + strconv.Itoa(int(a.Port)) }

// MarshalText returns the text form.
func (a ServiceAddr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the text form.
func (a *ServiceAddr) UnmarshalText(text []byte) (err error) {
	*a, err = ParseServiceAddr(string(text))
	return err
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

// A ServiceDiscovery is the client of one. It may be used concurrently.
type ServiceDiscovery struct {
	url string
	c   *Caller
}

// NewServiceDiscovery returns a client for the service at url.
func NewServiceDiscovery(url string, c *Caller) *ServiceDiscovery { return &ServiceDiscovery{url, c} }

// Services lists services.
func (s *ServiceDiscovery) Services(ctx context.Context, f Filter) ([]Service, error) {
	q := url.Values{"type": {f.Type}}
	if f.Version != "" {
		q.Set("version", f.Version)
	}
	if f.Country != "" {
		q.Set("country", f.Country)
	}
	if f.Quantity > 0 {
		q.Set("quantity", strconv.Itoa(f.Quantity))
	}
	limit := int64(maxList)
	if f.Quantity > 0 {
		limit = maxReply
	}
	l := list[Service]{least: leastService}
	err := s.c.do(ctx, request{method: http.MethodGet, base: s.url, path: "/api/services?" + q.Encode(), out: &l, limit: limit})
	if f.Quantity > 0 && len(l.all) > f.Quantity {
		l.all = l.all[:f.Quantity]
	}
	return l.all, err
}

// Register registers a service of the caller and returns it as the discovery has it,
// with its place. Repeat it each minute.
func (s *ServiceDiscovery) Register(ctx context.Context, sv Service) (Service, error) {
	var got Service
	err := s.c.Do(ctx, http.MethodPost, s.url, "/api/services", sv, &got)
	return got, err
}

// Delete takes a service back.
func (s *ServiceDiscovery) Delete(ctx context.Context, addr ServiceAddr, typ string) error {
	return s.c.Do(ctx, http.MethodDelete, s.url, "/api/services/"+addr.String()+"?type="+url.QueryEscape(typ), nil, nil)
}
