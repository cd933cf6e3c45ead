package services

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// AllConfig is the configuration file of "skysvc all". Start from DefaultAllConfig.
type AllConfig struct {
	// Dir is where keys and store are.
	Dir string `json:"dir"`
	// Name is how people call the deployment.
	Name string `json:"name"`
	// Addr is where HTTP is served, STUNAddr the first of two UDP ports for STUN and
	// RelayAddr where the relay listens; "" for the last two: none.
	Addr      string `json:"addr"`
	STUNAddr  string `json:"stun_addr"`
	RelayAddr string `json:"relay_addr"`
	// PublicHost is the name or address by which visors reach all of them; "": the
	// one at which a request arrives. PublicURL is where a TLS proxy serves the HTTP
	// part.
	PublicHost string `json:"public_host"`
	PublicURL  string `json:"public_url"`
	// SetupNode runs a setup node.
	SetupNode bool `json:"setup_node"`
	// Store is where entries are kept; "": in a file in Dir.
	Store string `json:"store"`
	// GeoDatabase is a file in the MaxMind DB format; "": places stay open.
	GeoDatabase string `json:"geo_database"`
	// Proxies are the addresses of proxies that say with a PROXY header who calls.
	Proxies []netip.Prefix `json:"proxies"`
	// Connections is how many one source may have open; Limits hold for each service.
	// 0 is no limit.
	Connections int          `json:"connections"`
	Limits      httpd.Limits `json:"limits"`
	LogLevel    string       `json:"log_level"`
}

// DefaultAllConfig returns what holds where a file says nothing.
func DefaultAllConfig() AllConfig {
	return AllConfig{
		Dir: "skysvc", Name: "private",
		Addr: ":9080", STUNAddr: ":3478", RelayAddr: ":8081",
		SetupNode: true, Proxies: []netip.Prefix{},
		Connections: 512, Limits: httpd.DefaultLimits(), LogLevel: zerolog.LevelInfoValue,
	}
}

// Validate returns all that is wrong with c, joined *api.Problems.
func (c *AllConfig) Validate() error {
	var ps api.Problems
	if c.Dir == "" {
		ps.Add("dir", "is missing: the folder for keys and store")
	}
	if len(c.Name) > 64 {
		ps.Add("name", "has %d characters; at most 64 are fine", len(c.Name))
	}
	needListen(&ps, "addr", c.Addr, ":9080", false)
	needListen(&ps, "stun_addr", c.STUNAddr, ":3478", true)
	needListen(&ps, "relay_addr", c.RelayAddr, ":8081", true)
	if strings.ContainsAny(c.PublicHost, "/: ") && !isIPv6(c.PublicHost) {
		ps.Add("public_host", "is %q; want a name or an address without port, as in deploy.example.com", c.PublicHost)
	}
	needURL(&ps, "public_url", c.PublicURL, "https://deploy.example.com")
	if c.Store != "" && !strings.Contains(c.Store, "://") {
		ps.Add("store", "is %q; want bolt:///path/file.db or redis://host:6379, or nothing for a file in dir", c.Store)
	}
	needLimits(&ps, c.Connections, c.Limits)
	needLevel(&ps, c.LogLevel)
	return ps.Err()
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// needListen checks where to listen; empty says whether "" is fine.
func needListen(ps *api.Problems, path, addr, like string, empty bool) {
	if addr == "" && empty {
		return
	}
	_, port, err := net.SplitHostPort(addr)
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
		ps.Add(path, "is %q; want host:port, as in %s or 192.0.2.1%s", addr, like, like)
	}
}

// needURL checks a URL; "" is fine.
func needURL(ps *api.Problems, path, text, like string) {
	if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		ps.Add(path, "is %q; want a URL like %s", text, like)
	}
}

func needLimits(ps *api.Problems, connections int, l httpd.Limits) {
	if connections < 0 || connections > 1e6 {
		ps.Add("connections", "is %d; want 0 (no limit) to 1000000", connections)
	}
	for _, r := range []struct {
		path string
		n    float64
	}{{"limits.reads_per_second", l.Reads}, {"limits.writes_per_second", l.Writes}} {
		if r.n < 0 || r.n > 1e6 {
			ps.Add(r.path, "is %v; want 0 (no limit) to 1000000", r.n)
		}
	}
}

func needLevel(ps *api.Problems, level string) {
	if _, err := zerolog.ParseLevel(level); err != nil || level == "" {
		ps.Add("log_level", "is %q; want debug, info, warn or error", level)
	}
}

// host returns the name by which the machine is reached as far as the configuration
// and the system know; sure says that the configuration does.
func (c *AllConfig) host() (name string, sure bool) {
	if c.PublicHost != "" {
		return c.PublicHost, true
	}
	if h, _, err := net.SplitHostPort(c.Addr); err == nil && h != "" {
		if a, err := netip.ParseAddr(h); err != nil || !a.IsUnspecified() {
			return h, true
		}
	}
	// No packet is sent for this: the system says which address it would use.
	if conn, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			return a.AddrPort().Addr().Unmap().String(), false
		}
	}
	return "127.0.0.1", false
}

// keyIn returns the secret key in the file called name in dir, which it makes if it is
// not there.
func keyIn(dir, name string) (cipher.SecKey, error) {
	path := filepath.Join(dir, name)
	sk, err := cipher.LoadSecKey(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return sk, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return sk, fmt.Errorf("make a folder for keys: %w", err)
	}
	_, sk = cipher.GenerateKeyPair()
	return sk, cipher.SaveSecKey(path, sk)
}
