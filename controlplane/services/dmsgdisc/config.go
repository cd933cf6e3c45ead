package dmsgdisc

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Config is the configuration file of a discovery. Start from DefaultConfig.
type Config struct {
	// Addr is where HTTP is served, host:port; an empty host is every address.
	Addr string `json:"addr"`
	// Store is where entries are kept: bolt:///path/file.db, redis://host:6379 and
	// what else package store knows.
	Store string `json:"store"`
	// SecretKeyFile or SecretKey makes the service reachable over dmsg as well, on
	// port 80 of that key. One of the two, or neither.
	SecretKeyFile string        `json:"secret_key_file,omitempty"`
	SecretKey     cipher.SecKey `json:"secret_key,omitzero"`

	// TestMode allows servers at loopback addresses.
	TestMode bool `json:"test_mode"`
	// OfficialServers and AuthPassphrase say which servers are official.
	OfficialServers []cipher.PubKey `json:"official_servers"`
	AuthPassphrase  string          `json:"auth_passphrase"`
	// Monitors may deregister entries, with MonitorsDmsgOnly over dmsg only.
	Monitors         []cipher.PubKey `json:"monitors"`
	MonitorsDmsgOnly bool            `json:"monitors_dmsg_only"`
	// Proxies are the addresses of proxies that say with a PROXY header who calls.
	Proxies []netip.Prefix `json:"proxies"`

	ServerTTL      conf.Duration `json:"server_ttl"`
	ClientTTL      conf.Duration `json:"client_ttl"`       // of clients that refresh
	QuietClientTTL conf.Duration `json:"quiet_client_ttl"` // of those that never do
	MaxEntries     int           `json:"max_entries"`
	Limits         Limits        `json:"limits"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `json:"log_level"`
}

// Limits bound what one source, an IPv4 address, an IPv6 /64 or a key over dmsg,
// may ask for. 0 is no limit.
type Limits struct {
	Connections  int     `json:"connections"`       // at a time
	Reads        float64 `json:"reads_per_second"`  // bursts of 5 times that
	Writes       float64 `json:"writes_per_second"` // bursts of 50 times that
	NewEntries   float64 `json:"new_per_second"`    // bursts of 5000 times that
	WritesPerKey float64 `json:"key_per_second"`    // bursts of 10 times that
}

// DefaultConfig returns what holds where a file says nothing.
func DefaultConfig() Config {
	o := DefaultOptions()
	return Config{
		Addr:            ":9090",
		OfficialServers: []cipher.PubKey{},
		Monitors:        []cipher.PubKey{},
		Proxies:         []netip.Prefix{},
		ServerTTL:       conf.Duration(o.ServerTTL),
		ClientTTL:       conf.Duration(o.ClientTTL),
		QuietClientTTL:  conf.Duration(o.QuietTTL),
		MaxEntries:      o.MaxEntries,
		Limits:          Limits{Connections: 512, Reads: o.ReadRate, Writes: o.WriteRate, NewEntries: o.NewRate, WritesPerKey: o.KeyRate},
		LogLevel:        zerolog.LevelInfoValue,
	}
}

// Validate returns all that is wrong with c, joined *api.Problems.
func (c *Config) Validate() error {
	var ps api.Problems
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		ps.Add("addr", "is %q; want host:port, as in :9090 or 192.0.2.1:9090", c.Addr)
	}
	switch {
	case c.Store == "":
		ps.Add("store", "is missing: where entries are kept, bolt:///var/lib/skywire/dmsgdisc.db for a file or redis://localhost:6379")
	case !strings.Contains(c.Store, "://"):
		ps.Add("store", "is %q; want bolt:///path/file.db or redis://host:6379", c.Store)
	}
	if c.SecretKeyFile != "" && !c.SecretKey.IsZero() {
		ps.Add("secret_key", "secret_key_file and secret_key are both set; remove one")
	}
	keys(&ps, "official_servers", c.OfficialServers)
	keys(&ps, "monitors", c.Monitors)
	ttl(&ps, "server_ttl", c.ServerTTL)
	ttl(&ps, "client_ttl", c.ClientTTL)
	ttl(&ps, "quiet_client_ttl", c.QuietClientTTL)
	if c.MaxEntries < 1 {
		ps.Add("max_entries", "is %d; want 1 or more", c.MaxEntries)
	}
	for _, l := range []struct {
		path string
		n    float64
	}{
		{"connections", float64(c.Limits.Connections)}, {"reads_per_second", c.Limits.Reads}, {"writes_per_second", c.Limits.Writes},
		{"new_per_second", c.Limits.NewEntries}, {"key_per_second", c.Limits.WritesPerKey},
	} {
		if l.n < 0 || l.n > 1e6 {
			ps.Add("limits."+l.path, "is %v; want 0 (no limit) to 1000000", l.n)
		}
	}
	if _, err := zerolog.ParseLevel(c.LogLevel); err != nil || c.LogLevel == "" {
		ps.Add("log_level", "is %q; want debug, info, warn or error", c.LogLevel)
	}
	return ps.Err()
}

func keys(ps *api.Problems, path string, pks []cipher.PubKey) {
	for i, pk := range pks {
		if pk.IsZero() {
			ps.Add(fmt.Sprintf("%s[%d]", path, i), "is no public key")
		}
	}
}

// maxTTL is the longest life of an entry that can be configured.
const maxTTL = 365 * 24 * time.Hour

func ttl(ps *api.Problems, path string, d conf.Duration) {
	if d < conf.Duration(time.Second) || d > conf.Duration(maxTTL) {
		ps.Add(path, "is %v; want 1s to %v", d, maxTTL)
	}
}

// Options returns what c says about the service's behaviour.
func (c *Config) Options() Options {
	o := DefaultOptions()
	o.Testing, o.Official, o.AuthPassphrase = c.TestMode, c.OfficialServers, c.AuthPassphrase
	o.Monitors, o.MonitorsDmsgOnly = c.Monitors, c.MonitorsDmsgOnly
	o.ServerTTL, o.ClientTTL, o.QuietTTL = time.Duration(c.ServerTTL), time.Duration(c.ClientTTL), time.Duration(c.QuietClientTTL)
	o.MaxEntries = c.MaxEntries
	o.ReadRate, o.ReadBurst = c.Limits.Reads, burst(c.Limits.Reads, 5)
	o.WriteRate, o.WriteBurst = c.Limits.Writes, burst(c.Limits.Writes, 50)
	o.NewRate, o.NewBurst = c.Limits.NewEntries, burst(c.Limits.NewEntries, 5000)
	o.KeyRate, o.KeyBurst = c.Limits.WritesPerKey, burst(c.Limits.WritesPerKey, 10)
	o.Shared = !strings.HasPrefix(c.Store, "bolt://")
	return o
}

// burst returns how many at once go with a rate: so many seconds' worth.
func burst(rate, seconds float64) int { return max(1, int(rate*seconds)) }
