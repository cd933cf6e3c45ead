// Package bootstrap tells newcomers where a deployment's services are, signed by the
// deployment's key: that and one URL are all that a visor needs.
package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Here stands in URLs and addresses for the host at which a request arrived.
const Here = "{here}"

// Options say what a bootstrap service answers.
type Options struct {
	// SecKey is the deployment's key.
	SecKey cipher.SecKey
	// Conf is the answer; its ID is filled in. Where a URL, a STUN or a dmsg server
	// has [Here] as its host, that becomes the address at which the request arrived:
	// not what its Host header says, for anybody could have anything signed so. Over
	// dmsg there is no such address, and they are left out.
	Conf deployment.Conf
	// Dmsg is the answer over dmsg; the zero value: Conf.
	Dmsg deployment.Conf
	Log  zerolog.Logger
}

// A Service is a bootstrap service. All methods may be called concurrently.
type Service struct {
	o Options

	mu     sync.Mutex
	signed map[string]*answer // by the host that stands for Here
}

// An answer is a Conf with its signature.
type answer struct {
	body []byte
	sig  string
}

// maxSigned bounds the answers that are kept; a machine has few addresses.
const maxSigned = 256

// New returns a bootstrap service.
func New(o Options) (*Service, error) {
	pk, err := o.SecKey.PubKey()
	if err != nil {
		return nil, fmt.Errorf("bootstrap: the deployment's key: %w", err)
	}
	if o.Conf.ID = pk; o.Dmsg.DmsgDiscovery == "" {
		o.Dmsg = o.Conf
	}
	o.Dmsg.ID = pk
	s := &Service{o: o, signed: make(map[string]*answer)}
	var errs []error
	for _, c := range []deployment.Conf{o.Conf, o.Dmsg} {
		if err := at(c, netip.MustParseAddr("192.0.2.1")).Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("bootstrap: %w", errors.Join(errs...))
	}
	return s, nil
}

// at returns c with host in place of Here. Where that is no address, over dmsg, what
// has Here is left out: it is nowhere.
func at(c deployment.Conf, host netip.Addr) deployment.Conf {
	text := host.String()
	if host.Is6() {
		text = "[" + text + "]"
	}
	put := func(s string) string {
		if !host.IsValid() && strings.Contains(s, Here) {
			return ""
		}
		return strings.Replace(s, Here, text, 1)
	}
	for _, s := range []*string{&c.DmsgDiscovery, &c.TransportDiscovery, &c.AddressResolver, &c.RouteFinder, &c.ServiceDiscovery, &c.UptimeTracker} {
		*s = put(*s)
	}
	list := func(in []string) []string {
		out := []string{}
		for _, s := range in {
			if s = put(s); s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	c.STUNServers, c.DmsgServers = list(c.STUNServers), list(c.DmsgServers)
	if c.SetupNodes == nil {
		c.SetupNodes = []cipher.PubKey{}
	}
	return c
}

// Run implements httpd.Service.
func (s *Service) Run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

// Handler implements httpd.Service: GET / and GET /dmsghttp.
func (s *Service) Handler(over httpd.Over) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		path := string(rc.Path())
		switch {
		case path != "/" && path != "/dmsghttp":
			httpd.Refuse(rc, deployment.ErrNotFound.With("no such path"))
		case !rc.IsGet() && !rc.IsHead():
			httpd.Refuse(rc, deployment.ErrMethod)
		case path == "/dmsghttp":
			httpd.JSON(rc, http.StatusOK, s.dmsgHTTP(rc, over))
		default:
			a, err := s.answer(rc, over)
			if err != nil {
				httpd.Fail(rc, err, s.o.Log)
				return
			}
			rc.Response.Header.Set(deployment.HeaderSig, a.sig)
			httpd.Raw(rc, http.StatusOK, a.body)
		}
	}
}

// here returns the address at which a request arrived; over dmsg, none.
func here(rc *fasthttp.RequestCtx, over httpd.Over) netip.Addr {
	if t, ok := rc.LocalAddr().(*net.TCPAddr); ok && over == httpd.OverTCP {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// answer returns the signed answer.
func (s *Service) answer(rc *fasthttp.RequestCtx, over httpd.Over) (*answer, error) {
	c, host := s.o.Conf, here(rc, over)
	key := host.String()
	if over == httpd.OverDmsg {
		c, key = s.o.Dmsg, "dmsg"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.signed[key]; a != nil {
		return a, nil
	}
	body, err := json.Marshal(at(c, host))
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	sig, err := cipher.Sign(s.o.SecKey, body)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: sign: %w", err)
	}
	if len(s.signed) >= maxSigned {
		clear(s.signed)
	}
	a := &answer{body, sig.String()}
	s.signed[key] = a
	return a, nil
}

// A dmsgServer is a relay as the deployed boot file has it.
type dmsgServer struct {
	Static cipher.PubKey `json:"static"`
	Server struct {
		Address string `json:"address"`
	} `json:"server"`
}

// A dmsgBoot is what deployed visors need to reach everything over dmsg.
type dmsgBoot struct {
	Servers            []dmsgServer `json:"dmsg_servers"`
	DmsgDiscovery      string       `json:"dmsg_discovery"`
	TransportDiscovery string       `json:"transport_discovery"`
	AddressResolver    string       `json:"address_resolver"`
	RouteFinder        string       `json:"route_finder"`
	UptimeTracker      string       `json:"uptime_tracker"`
	ServiceDiscovery   string       `json:"service_discovery"`
}

// dmsgHTTP returns the answer to GET /dmsghttp.
func (s *Service) dmsgHTTP(rc *fasthttp.RequestCtx, over httpd.Over) dmsgBoot {
	c := at(s.o.Dmsg, here(rc, over))
	out := dmsgBoot{
		Servers:       []dmsgServer{},
		DmsgDiscovery: c.DmsgDiscovery, TransportDiscovery: c.TransportDiscovery, AddressResolver: c.AddressResolver,
		RouteFinder: c.RouteFinder, UptimeTracker: c.UptimeTracker, ServiceDiscovery: c.ServiceDiscovery,
	}
	for _, text := range c.DmsgServers {
		key, address, _ := strings.Cut(text, "@")
		if pk, err := cipher.ParsePubKeyText(key); err == nil {
			sv := dmsgServer{Static: pk}
			sv.Server.Address = address
			out.Servers = append(out.Servers, sv)
		}
	}
	return out
}
