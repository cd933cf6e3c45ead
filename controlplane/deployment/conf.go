package deployment

import (
	"context"
	"errors"
	"net/http"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Conf says where a deployment's services are. It is what a bootstrap service
// answers to GET / and a section of a visor's configuration.
type Conf struct {
	// ID is the deployment's key, which signs the bootstrap's answers.
	ID   cipher.PubKey `json:"deployment"`
	Name string        `json:"name"`
	// Base URLs: http, https or dmsg. "" is a service that the deployment lacks.
	DmsgDiscovery      string `json:"dmsg_discovery"`
	TransportDiscovery string `json:"transport_discovery"`
	AddressResolver    string `json:"address_resolver"`
	RouteFinder        string `json:"route_finder"`
	ServiceDiscovery   string `json:"service_discovery"`
	UptimeTracker      string `json:"uptime_tracker"`
	// SetupNodes are the keys that may install rules for routes.
	SetupNodes  []cipher.PubKey `json:"route_setup_nodes"`
	STUNServers []string        `json:"stun_servers"` // host:port
	DmsgServers []string        `json:"dmsg_servers"` // <pk>@host:port
}

// FetchConf asks the bootstrap service at url. The answer must be signed by the
// deployment's key (header Sky-Sig, over the body) and, where pin is not zero, that
// key must be pin; a zero pin trusts what answers, which is for the first time only.
func FetchConf(ctx context.Context, url string, rt http.RoundTripper, pin cipher.PubKey) (Conf, error) {
	return Conf{}, errors.New("not yet")
}

// Validate reports every fault of c.
func (c Conf) Validate() error { return errors.New("not yet") }
