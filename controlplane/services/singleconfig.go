package services

import (
	"net/netip"
	"strings"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// SingleConfig is the configuration file of every service that runs alone, but for
// dmsgdisc, which has one of its own.
type SingleConfig struct {
	// Addr is where HTTP is served, host:port; an empty host is every address.
	Addr string `json:"addr"`
	// Store is where entries are kept; every instance of a service has the same, and
	// the route finder that of the transport discovery.
	Store string `json:"store"`
	// SecretKeyFile or SecretKey makes the service reachable over dmsg as well, on
	// port 80 of that key, by way of the relays that DmsgDiscovery knows.
	SecretKeyFile string        `json:"secret_key_file,omitempty"`
	SecretKey     cipher.SecKey `json:"secret_key,omitzero"`
	DmsgDiscovery string        `json:"dmsg_discovery"`
	// Hosts are the names under which callers reach the service, "name" or
	// "name:port". The address at which a call arrives is always fine.
	Hosts []string `json:"hosts"`
	// Proxies are the addresses of proxies that say with a PROXY header who calls.
	Proxies []netip.Prefix `json:"proxies"`
	// Connections is how many one source may have open; 0 is no limit.
	Connections int          `json:"connections"`
	Limits      httpd.Limits `json:"limits"`
	LogLevel    string       `json:"log_level"`

	// STUNAddr is the first of two UDP ports; of ar alone, "": none.
	STUNAddr string `json:"stun_addr,omitempty"`
	// GeoDatabase is a file in the MaxMind DB format; of sd and ut alone.
	GeoDatabase string `json:"geo_database,omitempty"`
	// Conf is what conf tells visors.
	Conf *deployment.Conf `json:"conf,omitempty"`
}

// DefaultSingleConfig returns what holds where a file says nothing. addr is the
// service's.
func DefaultSingleConfig(addr string) SingleConfig {
	return SingleConfig{
		Addr: addr, Hosts: []string{}, Proxies: []netip.Prefix{},
		Connections: 512, Limits: httpd.DefaultLimits(), LogLevel: zerolog.LevelInfoValue,
	}
}

// validate returns all that is wrong with c for the service s, joined *api.Problems.
func (c *SingleConfig) validate(s *single) error {
	var ps api.Problems
	keyed := c.SecretKeyFile != "" || !c.SecretKey.IsZero()
	if c.SecretKeyFile != "" && !c.SecretKey.IsZero() {
		ps.Add("secret_key", "secret_key_file and secret_key are both set; remove one")
	}
	if s.needsKey && !keyed {
		ps.Add("secret_key_file", "is missing: %s; \"skyctl keygen\" makes one", s.keyFor)
	}
	if c.DmsgDiscovery == "" && keyed && !s.keyAlone {
		ps.Add("dmsg_discovery", "is missing: the URL of the dmsg discovery, as in http://localhost:9090, to be reached over dmsg")
	}
	needURL(&ps, "dmsg_discovery", c.DmsgDiscovery, "http://localhost:9090")
	if s.addr != "" {
		needListen(&ps, "addr", c.Addr, s.addr, false)
	}
	switch {
	case !s.needsStore:
	case c.Store == "":
		ps.Add("store", "is missing: where entries are kept, bolt:///var/lib/skywire/%s.db for a file or redis://localhost:6379", s.name)
	case !strings.Contains(c.Store, "://"):
		ps.Add("store", "is %q; want bolt:///path/file.db or redis://host:6379", c.Store)
	}
	if s.stun {
		needListen(&ps, "stun_addr", c.STUNAddr, ":3478", true)
	}
	if s.conf {
		if c.Conf == nil {
			ps.Add("conf", "is missing: where the services are; a configuration file has it")
		}
	}
	needLimits(&ps, c.Connections, c.Limits)
	needLevel(&ps, c.LogLevel)
	return ps.Err()
}
