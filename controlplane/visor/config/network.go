package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Whom a visor admits to transports.
const (
	AcceptOpen = "open" // everybody
	AcceptList = "list" // Transport.Allow, and those to whom this visor wants transports
)

// Transport says which transports a visor makes and takes. All of it can change while
// the visor runs.
type Transport struct {
	// Accept says who may ask for a direct transport, and so learns this machine's
	// addresses: AcceptOpen or AcceptList. Others get links through relays, where
	// Policy lets them.
	Accept string          `json:"accept"`
	Allow  []cipher.PubKey `json:"allow"` // for AcceptList
	// Auto has the visor connect to public visors and to their neighbours by itself, so
	// that there are routes before anybody asks for one.
	Auto bool `json:"auto"`
	// Public offers this visor to everybody in the service discoveries, once an address
	// resolver has found that it can be reached.
	Public bool `json:"public"`
	// NoUpgrade leaves links through relays as they are, where else a direct one takes
	// their place as soon as there is one.
	NoUpgrade bool `json:"no_upgrade,omitempty"`
	// Persistent transports are made again whenever they are lost.
	Persistent []Persistent `json:"persistent"`
	// Table has addresses of visors that no address resolver knows.
	Table []Place `json:"table,omitempty"`
}

// A Persistent transport is kept up.
type Persistent struct {
	PK    cipher.PubKey `json:"pk"`
	Type  string        `json:"type,omitempty"` // none is whatever works
	Label string        `json:"label,omitempty"`
}

// A Place is where a visor takes STCPR links.
type Place struct {
	PK   cipher.PubKey `json:"pk"`
	Addr string        `json:"addr"` // host:port
}

// Routing says which ways streams take that a forward does not say otherwise about.
type Routing struct {
	MinHops   int             `json:"min_hops"`   // 1 lets direct links do
	MaxHops   int             `json:"max_hops"`   // at most api.MaxHops
	MuxRoutes int             `json:"mux_routes"` // disjoint routes over which the streams to one visor are spread
	Avoid     []cipher.PubKey `json:"avoid,omitempty"`
	Prefer    []cipher.PubKey `json:"prefer,omitempty"`
	// PathFinder is api.FinderService, which asks the route finders of the deployments,
	// or api.FinderLocal, which asks the transport discoveries and finds paths itself:
	// it goes on when they are away, and no service learns who talks to whom.
	PathFinder string `json:"path_finder"`
	// SetupNodes are trusted beside those of the deployments.
	SetupNodes []cipher.PubKey `json:"setup_nodes"`
}

// Policy returns the policy of streams about which nothing else is said.
func (r Routing) Policy() api.RoutePolicy {
	return api.RoutePolicy{MinHops: r.MinHops, MaxHops: r.MaxHops, MuxRoutes: r.MuxRoutes, Avoid: r.Avoid, Prefer: r.Prefer}
}

// Management says who else commands the visor.
type Management struct {
	// Allow are keys of visors whose operators may use the whole API over dmsg
	// ("skyctl --visor PK").
	Allow []cipher.PubKey `json:"allow"`
}

// DmsgServer has the visor run a relay, so that its network does without those of a
// deployment.
type DmsgServer struct {
	Listen        string `json:"listen"`         // IP:port
	PublicAddress string `json:"public_address"` // host:port at which clients reach it
	// SecretKeyFile holds the relay's own key, relative to the configuration file; one
	// that is not there is made.
	SecretKeyFile string `json:"secret_key_file"`
}

// RelayKeyFileName is the name of the key file of the relay inside a visor.
const RelayKeyFileName = "relay.key"

// Metrics says where the visor's metrics are served, for Prometheus and its kin.
type Metrics struct {
	Addr string `json:"addr"` // IP:port; "" is nowhere
}

// Servers returns the relays of deployment i.
func (c *Config) Servers(i int) ([]Server, error) {
	var all []Server
	for _, text := range c.Deployments[i].DmsgServers {
		var s Server
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (c *Config) validateNetwork(ps *api.Problems) {
	c.validateDeployments(ps)
	c.validateRelays(ps)
	c.validateTransport(ps)
	c.validateRouting(ps)
	keys(ps, "management.allow", c.Management.Allow)
	c.validateDmsgServer(ps)
	validateListen(ps, "metrics.addr", c.Metrics.Addr)
	if c.SetupNode && len(c.Deployments) == 0 && c.Dmsg == nil {
		ps.Add("setup_node", "is set, but the visor is in no dmsg network, where others could ask it: add deployments or dmsg")
	}
	between(ps, "dmsg_sessions", c.DmsgSessions, 0, MaxSessions)
}

func (c *Config) validateDeployments(ps *api.Problems) {
	seen := map[cipher.PubKey]int{}
	for i, d := range c.Deployments {
		path := fmt.Sprintf("deployments[%d]", i)
		for _, e := range api.Split(bare(d.Validate())) {
			name, text, _ := strings.Cut(e.Error(), ": ")
			ps.Add(path+"."+name, "%s", text)
		}
		if d.DmsgDiscovery == "" && len(d.DmsgServers) == 0 {
			ps.Add(path, "has neither dmsg_discovery nor dmsg_servers: visors find each other over dmsg")
		}
		if strings.HasPrefix(d.DmsgDiscovery, "dmsg://") && len(d.DmsgServers) == 0 {
			ps.Add(path+".dmsg_servers", "is empty: a discovery at dmsg:// is reached by way of a relay, <pk>@host:port")
		}
		if first, again := seen[d.ID]; again {
			ps.Add(path+".deployment", "deployments[%d] has the same key", first)
		}
		seen[d.ID] = i
	}
}

// bare takes away what err says before the faults that it wraps, each "<key>: <text>".
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// validateRelays notes relays that are pinned in two networks: a relay keeps but one
// session for a key, so that the two would end each other's again and again.
func (c *Config) validateRelays(ps *api.Problems) {
	seen := map[cipher.PubKey]string{}
	pin := func(path string, s Server) {
		if first, again := seen[s.PK]; again {
			ps.Add(path, "%s pins the same relay, which keeps but one session for this visor's key; leave one of them out", first)
			return
		}
		seen[s.PK] = path
	}
	if c.Dmsg != nil {
		for i, s := range c.Dmsg.Servers {
			path := fmt.Sprintf("dmsg.servers[%d]", i)
			if _, again := seen[s.PK]; !again { // within the section it is noted already
				pin(path, s)
			}
		}
	}
	for i := range c.Deployments {
		servers, err := c.Servers(i)
		if err != nil {
			continue // noted already
		}
		for j, s := range servers {
			pin(fmt.Sprintf("deployments[%d].dmsg_servers[%d]", i, j), s)
		}
	}
}

func (c *Config) validateTransport(ps *api.Problems) {
	t := &c.Transport
	if t.Accept != AcceptOpen && t.Accept != AcceptList {
		ps.Add("transport.accept", "is %q; want %q (everybody) or %q (transport.allow, and those to whom this visor wants transports)", t.Accept, AcceptOpen, AcceptList)
	}
	if t.Accept == AcceptOpen && len(t.Allow) > 0 {
		ps.Add("transport.allow", "has no effect while transport.accept is %q; set it to %q", AcceptOpen, AcceptList)
	}
	keys(ps, "transport.allow", t.Allow)
	for i, p := range t.Persistent {
		ps.Under(fmt.Sprintf("transport.persistent[%d]", i), api.TransportSpec(p).Validate())
	}
	for i, p := range t.Table {
		path := fmt.Sprintf("transport.table[%d]", i)
		if p.PK.IsZero() {
			ps.Add(path+".pk", "is missing: a public key, 66 hex digits")
		}
		if !isHostPort(p.Addr) {
			ps.Add(path+".addr", "is %q; want host:port, as in 192.0.2.1:7777", p.Addr)
		}
	}
	if t.Public && c.ListenTCP == "" {
		ps.Add("transport.public", "is set, but the visor takes no links over TCP: set listen_tcp")
	}
}

func (c *Config) validateRouting(ps *api.Problems) {
	r := &c.Routing
	ps.Under("routing", r.Policy().Validate())
	if r.PathFinder != api.FinderService && r.PathFinder != api.FinderLocal {
		ps.Add("routing.path_finder", "is %q; want %q (the deployments' route finders) or %q (the visor itself)", r.PathFinder, api.FinderService, api.FinderLocal)
	}
	keys(ps, "routing.setup_nodes", r.SetupNodes)
}

func (c *Config) validateDmsgServer(ps *api.Problems) {
	s := c.DmsgServer
	if s == nil {
		return
	}
	if a, err := netip.ParseAddrPort(s.Listen); err != nil || a.Port() == 0 {
		ps.Add("dmsg_server.listen", "is %q; want the IP address and port on which the relay listens, as in [::]:8081", s.Listen)
	}
	if !isHostPort(s.PublicAddress) {
		ps.Add("dmsg_server.public_address", "is %q; want host:port at which others reach the relay, as in relay.example.com:8081", s.PublicAddress)
	} else if host, _, err := net.SplitHostPort(s.PublicAddress); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			ps.Add("dmsg_server.public_address", "is %q, which is every address and so none that others could dial", s.PublicAddress)
		}
	}
	if s.SecretKeyFile == "" {
		ps.Add("dmsg_server.secret_key_file", "is missing: the file with the relay's own key, which is made if it is not there, as in %q", RelayKeyFileName)
	}
	if s.SecretKeyFile != "" && s.SecretKeyFile == c.SecretKeyFile {
		ps.Add("dmsg_server.secret_key_file", "is the visor's own; the relay needs another key")
	}
}

// keys notes zero keys of a list.
func keys(ps *api.Problems, path string, pks []cipher.PubKey) {
	for i, pk := range pks {
		if pk.IsZero() {
			ps.Add(fmt.Sprintf("%s[%d]", path, i), "is no public key")
		}
	}
}
