// Package config is a visor's configuration file: what stands in it, what it means
// where it says nothing, and what is wrong with it.
//
// The file is JSON. A mistake is reported with its line and column, all mistakes at
// once. Files are replaced whole (temporary file, fsync, rename), never edited.
package config

import (
	"fmt"
	"net/netip"

	"github.com/rs/zerolog"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// MaxWorkers is the most packet workers: the low four bits of a receiver index
// name one (docs/wire.md section 2).
const MaxWorkers = 16

// Config is the configuration of a visor. Start from Default: the zero value has
// no place for its socket.
type Config struct {
	// SecretKeyFile holds the secret key, alone, mode 0600; a relative path is
	// relative to the configuration file. Or SecretKey has it here, and then this
	// file must be 0600. One of the two.
	SecretKeyFile string        `json:"secret_key_file,omitempty"`
	SecretKey     cipher.SecKey `json:"secret_key,omitzero"`

	// ListenUDP and ListenTCP are the addresses for links, IP:port. [::] takes
	// IPv4 too. "" is for a visor that only connects to others: over TCP it does
	// not listen, over UDP the system chooses the port.
	ListenUDP string `json:"listen_udp"`
	ListenTCP string `json:"listen_tcp"`
	// Workers is how many processors the visor uses, and how many sockets and
	// goroutines move UDP packets, at most 16; 0 is half of the machine's, at least
	// one.
	Workers int `json:"workers"`

	// Links are kept up; Rules and Forwards are set at start.
	Links    []api.LinkSpec    `json:"links"`
	Rules    []api.Rule        `json:"rules"`
	Forwards []api.ForwardSpec `json:"forwards"`

	// Dmsg has the visor join a dmsg network; without it there are no links of type dmsg.
	Dmsg *Dmsg `json:"dmsg,omitempty"`

	// Deployments are the networks that the visor joins, as their bootstrap services
	// describe them ("skyctl config gen --deployment URL" asks one). What belongs to one
	// of them is not told to another.
	Deployments []deployment.Conf `json:"deployments"`
	// DmsgSessions is how many relays to stay connected to in each deployment; 0 is
	// DefaultSessions.
	DmsgSessions int `json:"dmsg_sessions,omitempty"`

	Policy     Policy     `json:"policy"`
	Transit    Transit    `json:"transit"`
	Transport  Transport  `json:"transport"`
	Routing    Routing    `json:"routing"`
	Management Management `json:"management"`

	// DmsgServer runs a relay inside the visor.
	DmsgServer *DmsgServer `json:"dmsg_server,omitempty"`
	// SetupNode makes the visor one that sets up routes for others, which have its key
	// among their setup nodes.
	SetupNode bool    `json:"setup_node,omitempty"`
	Metrics   Metrics `json:"metrics"`

	// APISocket is the Unix socket for skyctl, relative like SecretKeyFile.
	APISocket string `json:"api_socket"`
	// StreamMemoryMB bounds the buffers of all streams together, in MiB; 0 is an
	// eighth of the machine's memory.
	StreamMemoryMB int `json:"stream_memory_mb"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `json:"log_level"`
}

// Policies for inbound links.
const (
	InboundOpen = "open" // whoever knows the visor's key
	InboundList = "list" // Policy.Allow and the neighbours in Config.Links
)

// Policy says which links a visor takes.
type Policy struct {
	Inbound  string          `json:"inbound"` // InboundOpen or InboundList
	Allow    []cipher.PubKey `json:"allow"`
	MaxLinks int             `json:"max_links"` // that others opened; 0 is no limit
}

// Transit says what a visor carries for others.
type Transit struct {
	Allow     bool `json:"allow"`
	MaxMbps   int  `json:"max_mbps"`   // Mbit/s of all transit together; 0 is no limit
	MaxRoutes int  `json:"max_routes"` // forwarding rules; 0 is no limit
}

// Default returns what holds where a file says nothing: links over UDP and TCP on
// port 7777 from everybody, transit allowed.
func Default() Config {
	return Config{
		ListenUDP: "[::]:7777",
		ListenTCP: "[::]:7777",
		Links:     []api.LinkSpec{},
		Rules:     []api.Rule{},
		Forwards:  []api.ForwardSpec{},
		Policy:    Policy{Inbound: InboundOpen, Allow: []cipher.PubKey{}, MaxLinks: 1024},
		Transit:   Transit{Allow: true, MaxRoutes: 4096},

		Deployments: []deployment.Conf{},
		Transport:   Transport{Accept: AcceptOpen, Allow: []cipher.PubKey{}, Auto: true, Persistent: []Persistent{}},
		Routing:     Routing{MinHops: 1, MaxHops: 6, MuxRoutes: 1, PathFinder: api.FinderService, SetupNodes: []cipher.PubKey{}},
		Management:  Management{Allow: []cipher.PubKey{}},

		APISocket: "visor.sock",
		LogLevel:  zerolog.LevelInfoValue,
	}
}

// Validate returns all that is wrong with c, joined *api.Problems.
func (c *Config) Validate() error {
	var ps api.Problems
	c.validateKey(&ps)
	validateListen(&ps, "listen_udp", c.ListenUDP)
	validateListen(&ps, "listen_tcp", c.ListenTCP)
	between(&ps, "workers", c.Workers, 0, MaxWorkers)
	c.validateLinks(&ps)
	c.validateRules(&ps)
	c.validateForwards(&ps)
	c.validateDmsg(&ps)
	c.validatePolicy(&ps)
	c.validateNetwork(&ps)
	between(&ps, "transit.max_mbps", c.Transit.MaxMbps, 0, 1_000_000)
	between(&ps, "transit.max_routes", c.Transit.MaxRoutes, 0, 1<<20)
	if c.APISocket == "" {
		ps.Add("api_socket", "is empty; want the path of a Unix socket")
	}
	between(&ps, "stream_memory_mb", c.StreamMemoryMB, 0, 1<<20)
	if !api.IsLogLevel(c.LogLevel) {
		ps.Add("log_level", "is %q; want debug, info, warn or error", c.LogLevel)
	}
	return ps.Err()
}

func (c *Config) validateKey(ps *api.Problems) {
	switch {
	case c.SecretKeyFile == "" && c.SecretKey.IsZero():
		ps.Add("secret_key_file", "is missing: the file with the visor's secret key; \"skyctl keygen --out secret.key\" makes one")
	case c.SecretKeyFile != "" && !c.SecretKey.IsZero():
		ps.Add("secret_key", "secret_key_file and secret_key are both set; remove one")
	}
}

func (c *Config) validateLinks(ps *api.Problems) {
	seen := map[api.LinkID]int{}
	for i, l := range c.Links {
		path := fmt.Sprintf("links[%d]", i)
		ps.Under(path, l.Validate())
		id := api.LinkID{PK: l.PK, Type: l.Type}
		if first, again := seen[id]; again {
			ps.Add(path, "a %s link to this key is already links[%d]", l.Type, first)
		}
		seen[id] = i
	}
}

func (c *Config) validateRules(ps *api.Problems) {
	seen := map[uint32]int{}
	for i, r := range c.Rules {
		path := fmt.Sprintf("rules[%d]", i)
		ps.Under(path, r.Validate())
		if first, again := seen[r.In.Label]; again {
			ps.Add(path+".in.label", "rules[%d] has the same; a visor gives out each label once, whichever link it is for", first)
		}
		seen[r.In.Label] = i
	}
}

func (c *Config) validateForwards(ps *api.Problems) {
	seen := map[string]int{}
	for i, f := range c.Forwards {
		path := fmt.Sprintf("forwards[%d]", i)
		ps.Under(path, f.Validate())
		if first, again := seen[f.ID()]; again {
			ps.Add(path, "forwards[%d] has the same port (%s)", first, f.ID())
		}
		seen[f.ID()] = i
	}
}

func (c *Config) validatePolicy(ps *api.Problems) {
	if c.Policy.Inbound != InboundOpen && c.Policy.Inbound != InboundList {
		ps.Add("policy.inbound", "is %q; want %q (whoever knows the key) or %q (policy.allow and the keys in links)", c.Policy.Inbound, InboundOpen, InboundList)
	}
	if c.Policy.Inbound == InboundOpen && len(c.Policy.Allow) > 0 {
		ps.Add("policy.allow", "has no effect while policy.inbound is %q; set it to %q", InboundOpen, InboundList)
	}
	for i, pk := range c.Policy.Allow {
		if pk.IsZero() {
			ps.Add(fmt.Sprintf("policy.allow[%d]", i), "is no public key")
		}
	}
	between(ps, "policy.max_links", c.Policy.MaxLinks, 0, 1<<20)
}

func validateListen(ps *api.Problems, path, addr string) {
	if addr == "" {
		return
	}
	if _, err := netip.ParseAddrPort(addr); err != nil {
		ps.Add(path, "is %q; want IP:port, as in [::]:7777 (all addresses, IPv4 too) or 192.0.2.1:7777, or \"\" for none", addr)
	}
}

func between(ps *api.Problems, path string, n, low, high int) {
	if n < low || n > high {
		ps.Add(path, "is %d; want %d to %d", n, low, high)
	}
}
