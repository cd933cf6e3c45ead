package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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

// maxConf is the most bytes of a bootstrap's answer.
const maxConf = 256 << 10

// ErrNotSigned says that a bootstrap's answer is not signed by the key that it must be
// signed by.
var ErrNotSigned = errors.New("deployment: the configuration is not signed by its deployment")

// FetchConf asks the bootstrap service at url. The answer must be signed by the
// deployment's key (header Sky-Sig, over the body) and, where pin is not zero, that
// key must be pin; a zero pin trusts what answers, which is for the first time only.
// Over dmsg the stream proves who answers besides.
//
// Errors: ErrNotSigned, ErrUnavailable, ErrAnswer.
func FetchConf(ctx context.Context, url string, rt http.RoundTripper, pin cipher.PubKey) (Conf, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil || req.URL.Host == "" {
		return Conf{}, fmt.Errorf("deployment: %q is not the URL of a deployment; it looks like http://host:port", url)
	}
	if req.URL.Path == "" {
		req.URL.Path = "/"
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return Conf{}, fmt.Errorf("deployment: %s: %w: %w", url, errNoAnswer, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxConf+1))
	switch {
	case err != nil:
		return Conf{}, fmt.Errorf("deployment: %s: %w: %w", url, errNoAnswer, err)
	case resp.StatusCode != http.StatusOK:
		return Conf{}, fmt.Errorf("deployment: %s: %w", url, parseError(resp.StatusCode, body, resp.Header))
	case len(body) > maxConf:
		return Conf{}, fmt.Errorf("deployment: %s: %w: more than %d bytes", url, ErrAnswer, maxConf)
	}
	c, err := ParseConf(body, resp.Header.Get(HeaderSig), pin)
	if err != nil {
		return Conf{}, fmt.Errorf("%w (from %s)", err, url)
	}
	return c, nil
}

// ParseConf reads a bootstrap's answer and its signature, 130 hex digits over the
// bytes of body, as FetchConf does.
func ParseConf(body []byte, sig string, pin cipher.PubKey) (Conf, error) {
	var c Conf
	if err := json.Unmarshal(body, &c); err != nil {
		return Conf{}, fmt.Errorf("deployment: %w: %w", ErrAnswer, err)
	}
	var s cipher.Sig
	if err := s.UnmarshalText([]byte(sig)); err != nil {
		return Conf{}, fmt.Errorf("%w: no signature", ErrNotSigned)
	}
	if err := cipher.Verify(c.ID, s, body); err != nil {
		return Conf{}, fmt.Errorf("%w: %w", ErrNotSigned, err)
	}
	if !pin.IsZero() && c.ID != pin {
		return Conf{}, fmt.Errorf("%w: it is of deployment %s, wanted %s", ErrNotSigned, c.ID, pin)
	}
	if err := c.Validate(); err != nil {
		return Conf{}, err
	}
	return c, nil
}

// Validate reports every fault of c.
func (c Conf) Validate() error {
	var errs []error
	fault := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf(name+": "+format, args...))
	}
	if c.ID.IsZero() {
		fault("deployment", "no key")
	} else if err := c.ID.Validate(); err != nil {
		fault("deployment", "%w", err)
	}
	for _, s := range []struct{ name, url string }{
		{"dmsg_discovery", c.DmsgDiscovery}, {"transport_discovery", c.TransportDiscovery}, {"address_resolver", c.AddressResolver},
		{"route_finder", c.RouteFinder}, {"service_discovery", c.ServiceDiscovery}, {"uptime_tracker", c.UptimeTracker},
	} {
		if s.url == "" {
			continue
		}
		if u, err := url.Parse(s.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "dmsg" || u.RawQuery != "" || u.User != nil {
			fault(s.name, "%.200q is no URL of a service; it looks like http://host:port or dmsg://<key>:80", s.url)
		}
	}
	for i, pk := range c.SetupNodes {
		if err := pk.Validate(); err != nil {
			fault("route_setup_nodes["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	for i, s := range c.STUNServers {
		if !isHostPort(s) {
			fault("stun_servers["+strconv.Itoa(i)+"]", "%.200q is not host:port", s)
		}
	}
	for i, s := range c.DmsgServers {
		if _, _, err := ParseDmsgServer(s); err != nil {
			fault("dmsg_servers["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("deployment: configuration: %w", errors.Join(errs...))
	}
	return nil
}

// ParseDmsgServer reads an entry of Conf.DmsgServers, <pk>@host:port.
func ParseDmsgServer(s string) (pk cipher.PubKey, addr string, err error) {
	key, addr, ok := strings.Cut(s, "@")
	if pk, err = cipher.ParsePubKeyText(key); !ok || err != nil || !isHostPort(addr) {
		return cipher.PubKey{}, "", fmt.Errorf("%.200q is no dmsg server; it looks like <key>@host:port", s)
	}
	return pk, addr, nil
}

// isHostPort says whether s is a host and a port from 1 on.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, errPort := strconv.ParseUint(port, 10, 16)
	return err == nil && errPort == nil && host != "" && n > 0
}
