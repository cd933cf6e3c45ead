package daemon

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Config is the configuration of a relay. The keys in the first part are those of
// the deployed software, whose files work as they are; the others are ours. Start
// from Default.
type Config struct {
	PublicKey cipher.PubKey `json:"public_key,omitzero"` // only compared with the secret key
	SecretKey cipher.SecKey `json:"secret_key,omitzero"`
	// Discovery is the discovery's URL, where the relay registers; "" is for a relay
	// that its clients know by themselves.
	Discovery string `json:"discovery"`
	// PublicAddress is the host:port at which clients reach the relay, as its entry
	// says it.
	PublicAddress string `json:"public_address"`
	LocalAddress  string `json:"local_address"` // where to listen
	// HealthAddress is where /health and /metrics are served; "" is nowhere.
	HealthAddress string `json:"health_endpoint_address"`
	LogLevel      string `json:"log_level"`
	// UpdateInterval is how often the entry is renewed; the discovery forgets it
	// after two minutes.
	UpdateInterval Duration `json:"update_interval"`
	MaxSessions    int      `json:"max_sessions"`

	// SecretKeyFile holds the secret key in place of SecretKey, alone, mode 0600; a
	// relative path is relative to the configuration file.
	SecretKeyFile string `json:"secret_key_file,omitempty"`
	MaxPerAddress int    `json:"max_sessions_per_address"` // IPv4 address or IPv6 /64; 0 is no limit
	MaxPerKey     int    `json:"max_sessions_per_key_per_minute"`
	MaxStreams    int    `json:"max_streams_per_session"`
	// Proxies are the addresses or networks of load balancers, whose connections
	// begin with a PROXY header.
	Proxies []string `json:"proxies"`
	// DrainTimeout is how long clients have to move when the relay stops.
	DrainTimeout Duration `json:"drain_timeout"`
	// Passphrase makes a discovery that knows it list the relay as official. It
	// travels to the discovery as it is: use https.
	Passphrase string `json:"passphrase,omitempty"`
}

// Default returns what holds where a file says nothing.
func Default() Config {
	return Config{
		LocalAddress:   ":8081",
		HealthAddress:  ":8082",
		LogLevel:       zerolog.LevelInfoValue,
		UpdateInterval: Duration(time.Minute),
		MaxSessions:    16384,
		MaxPerAddress:  64,
		MaxPerKey:      30,
		MaxStreams:     2048,
		Proxies:        []string{},
		DrainTimeout:   Duration(10 * time.Second),
	}
}

// Validate returns all that is wrong with c, joined *api.Problems.
func (c *Config) Validate() error {
	var ps api.Problems
	switch {
	case c.SecretKeyFile == "" && c.SecretKey.IsZero():
		ps.Add("secret_key_file", "is missing: the file with the relay's secret key; \"skydmsg config gen\" makes one")
	case c.SecretKeyFile != "" && !c.SecretKey.IsZero():
		ps.Add("secret_key", "secret_key_file and secret_key are both set; remove one")
	}
	if u, err := url.Parse(c.Discovery); c.Discovery != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		ps.Add("discovery", "is %q; want a URL like http://dmsgd.example.com:9090, or \"\" for none", c.Discovery)
	}
	if c.Discovery != "" && c.PublicAddress == "" {
		ps.Add("public_address", "is empty; the discovery wants to know the host:port at which clients reach this relay")
	}
	needHostPort(&ps, "public_address", c.PublicAddress, true)
	if c.LocalAddress == "" {
		ps.Add("local_address", "is empty; want [host]:port to listen on, as in :8081")
	}
	needHostPort(&ps, "local_address", c.LocalAddress, false)
	needHostPort(&ps, "health_endpoint_address", c.HealthAddress, false)
	if _, err := zerolog.ParseLevel(c.LogLevel); err != nil || c.LogLevel == "" {
		ps.Add("log_level", "is %q; want debug, info, warn or error", c.LogLevel)
	}
	if d := time.Duration(c.UpdateInterval); d < time.Second || d > 90*time.Second {
		ps.Add("update_interval", "is %v; want 1s to 1m30s: the discovery forgets a relay after two minutes", d)
	}
	if d := time.Duration(c.DrainTimeout); d < 0 || d > time.Hour {
		ps.Add("drain_timeout", "is %v; want 0s to 1h0m0s", d)
	}
	between(&ps, "max_sessions", c.MaxSessions, 1, 1<<20)
	between(&ps, "max_sessions_per_address", c.MaxPerAddress, 0, 1<<20)
	between(&ps, "max_sessions_per_key_per_minute", c.MaxPerKey, 1, 1<<20)
	between(&ps, "max_streams_per_session", c.MaxStreams, 1, 1<<16)
	for i, p := range c.Proxies {
		if _, err := parsePrefix(p); err != nil {
			ps.Add(fmt.Sprintf("proxies[%d]", i), "is %q; want an IP address or a network like 10.0.0.0/8", p)
		}
	}
	return ps.Err()
}

// needHostPort checks an address; "" is fine. With host it must name one.
func needHostPort(ps *api.Problems, path, addr string, host bool) {
	if addr == "" {
		return
	}
	h, port, err := net.SplitHostPort(addr)
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || host && (h == "" || n == 0) {
		want := "[host]:port, as in :8081"
		if host {
			want = "host:port, as in relay.example.com:8081"
		}
		ps.Add(path, "is %q; want %s", addr, want)
	}
}

func between(ps *api.Problems, path string, n, low, high int) {
	if n < low || n > high {
		ps.Add(path, "is %d; want %d to %d", n, low, high)
	}
}

// parsePrefix reads a network or a lone address.
func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Prefix(ip.BitLen())
	}
	return netip.ParsePrefix(s)
}

// prefixes returns the valid ones of c.Proxies.
func (c *Config) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range c.Proxies {
		if p, err := parsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// A Duration stands in JSON as a text like "1m30s". It reads numbers too, which are
// nanoseconds, as the deployed software writes them.
type Duration time.Duration

// MarshalText returns the text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalJSON reads either form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		*d = Duration(v)
		return nil
	case string:
		if parsed, err := time.ParseDuration(v); err == nil {
			*d = Duration(parsed)
			return nil
		}
	}
	return fmt.Errorf("want a duration like \"10s\" or \"1m30s\"")
}
