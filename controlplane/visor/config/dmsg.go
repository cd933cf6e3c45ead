package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Numbers of relays to stay connected to.
const (
	DefaultSessions = 2
	MaxSessions     = 64
)

// Dmsg names a dmsg network. It needs a discovery or servers.
type Dmsg struct {
	// Discovery is the URL of its discovery: http://host:port, or dmsg://<pk>:80, which
	// takes a server to reach it.
	Discovery string `json:"discovery,omitempty"`
	// Servers are relays to use whatever the discovery says. Without a discovery they
	// are all there are: the visor keeps to each of them, and so must its neighbours to
	// one.
	Servers []Server `json:"servers,omitempty"`
	// Sessions is how many relays of a discovery to stay connected to; 0 is
	// DefaultSessions.
	Sessions int `json:"sessions,omitempty"`
}

// A Server is a relay, in text "<pk>@host:port".
type Server struct {
	PK   cipher.PubKey
	Addr string // host:port
}

// MarshalText implements encoding.TextMarshaler.
func (s Server) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns "<pk>@host:port".
func (s Server) String() string { return s.PK.String() + "@" + s.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Server) UnmarshalText(text []byte) error {
	key, addr, ok := strings.Cut(string(text), "@")
	if !ok {
		return fmt.Errorf("is %q; want the relay's key and address, <pk>@host:port", text)
	}
	pk, err := cipher.ParsePubKeyText(key)
	if err != nil {
		return fmt.Errorf("%q is no public key (66 hex digits): %w", key, err)
	}
	if !isHostPort(addr) {
		return fmt.Errorf("%q is no address of a relay; want host:port", addr)
	}
	s.PK, s.Addr = pk, addr
	return nil
}

func isHostPort(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	n, e := strconv.ParseUint(port, 10, 16)
	return err == nil && e == nil && n != 0 && host != "" && !strings.ContainsAny(host, " /\t")
}

var errDiscovery = errors.New("want http://host:port, https://host, or dmsg://<pk>:80")

// checkDiscovery says what is wrong with the URL of a discovery.
func checkDiscovery(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errDiscovery
	}
	switch u.Scheme {
	case "http", "https":
		return nil
	case "dmsg":
		if _, err := proto.ParseAddr(u.Host, 80); err == nil && (u.Path == "" || u.Path == "/") {
			return nil
		}
	}
	return errDiscovery
}

func (c *Config) validateDmsg(ps *api.Problems) {
	d := c.Dmsg
	if d == nil && len(c.Deployments) > 0 {
		return
	}
	if d == nil {
		for i, l := range c.Links {
			if l.Type == api.DMSG {
				ps.Add(fmt.Sprintf("links[%d].type", i), "is %q, but there is no network for it: neither deployments nor a section \"dmsg\"", api.DMSG)
			}
		}
		return
	}
	if d.Discovery == "" && len(d.Servers) == 0 {
		ps.Add("dmsg", "names no network: set discovery, as in http://dmsgd.example.com:9090, or servers")
	}
	if d.Discovery != "" {
		if err := checkDiscovery(d.Discovery); err != nil {
			ps.Add("dmsg.discovery", "is %q; %v", d.Discovery, err)
		}
	}
	if strings.HasPrefix(d.Discovery, "dmsg://") && len(d.Servers) == 0 {
		ps.Add("dmsg.servers", "is empty: a discovery at dmsg:// is reached by way of a relay, <pk>@host:port")
	}
	if d.Discovery == "" && d.Sessions != 0 {
		ps.Add("dmsg.sessions", "has no effect without discovery: the visor keeps to each of servers")
	}
	between(ps, "dmsg.sessions", d.Sessions, 0, MaxSessions)
	seen := map[cipher.PubKey]int{}
	for i, s := range d.Servers {
		if first, again := seen[s.PK]; again {
			ps.Add(fmt.Sprintf("dmsg.servers[%d]", i), "servers[%d] has the same key", first)
		}
		seen[s.PK] = i
	}
}
