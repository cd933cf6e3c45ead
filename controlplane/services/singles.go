package services

import (
	"context"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/addressresolver"
	"github.com/skyminer/skywire/controlplane/services/bootstrap"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/routefinder"
	"github.com/skyminer/skywire/controlplane/services/servicedisc"
	"github.com/skyminer/skywire/controlplane/services/stunserver"
	"github.com/skyminer/skywire/controlplane/services/transportdisc"
	"github.com/skyminer/skywire/controlplane/services/uptimetracker"
)

// singles returns the services that run alone as well.
func singles() []single {
	return []single{
		{
			name: "ar", addr: ":9093", needsStore: true, stun: true, make: newAR,
			help: "Run an address resolver, which tells visors where others listen for STCPR, and a STUN server.",
		},
		{
			name: "tpd", addr: ":9091", needsStore: true, make: newTPD,
			help: "Run a transport discovery: which visors have transports to which others.",
		},
		{
			name: "rf", addr: ":9092", needsStore: true, asks: true, make: newRF,
			help: "Run a route finder, which finds paths over what the transport discovery with the same store has.",
		},
		{
			name: "sd", addr: ":9098", needsStore: true, geo: true, make: newSD,
			help: "Run a service discovery: which visors offer VPN, proxies and so on.",
		},
		{
			name: "ut", addr: ":9096", needsStore: true, geo: true, make: newUT,
			help: "Run an uptime tracker: for how long visors are up, day by day.",
		},
		{
			name: "conf", addr: ":9082", conf: true, needsKey: true, keyAlone: true, keyFor: "the deployment's, which signs the answers", make: newConf,
			help: "Run a bootstrap service: it tells newcomers where the services are.",
		},
		{
			name: "setup-node", needsKey: true, keyFor: "visors know the setup node by it",
			help: "Run a route setup node. It is reached over dmsg alone.",
		},
	}
}

func newAR(p parts) (httpd.Service, error) {
	o := addressresolver.DefaultOptions()
	o.Verifier, o.Log = p.verifier, p.log
	if p.free {
		o.DialRate, o.KeyRate = 0, 0
	}
	return addressresolver.New(p.st, o)
}

func newTPD(p parts) (httpd.Service, error) { return transportDisc(p) }

func transportDisc(p parts) (*transportdisc.Service, error) {
	o := transportdisc.DefaultOptions()
	o.Verifier, o.Log = p.verifier, p.log
	if p.free {
		o.KeyRate, o.NewRate = 0, 0
	}
	return transportdisc.New(p.st, o)
}

func newRF(p parts) (httpd.Service, error) { return routeFinder(p, nil) }

// routeFinder returns a route finder over the index of a transport discovery in this
// process or, with nil, over the store alone.
func routeFinder(p parts, index *transportdisc.Index) (*routefinder.Service, error) {
	o := routefinder.DefaultOptions()
	o.Index, o.Log = index, p.log
	return routefinder.New(p.st, o)
}

func newSD(p parts) (httpd.Service, error) {
	o := servicedisc.DefaultOptions()
	o.Verifier, o.Log = p.verifier, p.log
	if p.geo != nil {
		o.Geo = p.geo
	}
	if p.free {
		o.KeyRate = 0
	}
	return servicedisc.New(p.st, o)
}

func newUT(p parts) (httpd.Service, error) {
	o := uptimetracker.DefaultOptions()
	o.Verifier, o.Log = p.verifier, p.log
	if p.geo != nil {
		o.Geo = p.geo
	}
	if p.free {
		o.KeyRate, o.NewRate = 0, 0
	}
	return uptimetracker.New(p.st, o)
}

func newConf(p parts) (httpd.Service, error) {
	return bootstrap.New(bootstrap.Options{SecKey: p.sk, Conf: *p.cfg.Conf, Log: p.log})
}

// newSTUN opens the ports of a STUN server; free: without limits.
func newSTUN(addr string, free bool, log zerolog.Logger) (*stunserver.Server, error) {
	o := stunserver.DefaultOptions()
	o.Addr, o.Log = addr, log
	if free {
		o.Rate = 0
	}
	return stunserver.New(o)
}

// A measured STUN server shows its metrics beside the services that a host has; it
// serves no HTTP.
type measured struct{ *stunserver.Server }

// stunMount returns the place of a STUN server in a host.
func stunMount(s *stunserver.Server) httpd.Mount {
	return httpd.Mount{Name: "stun", Prefix: "/stun", Service: measured{s}}
}

// Handler implements httpd.Service.
func (measured) Handler(httpd.Over) fasthttp.RequestHandler {
	return func(rc *fasthttp.RequestCtx) {
		httpd.Refuse(rc, deployment.ErrNotFound.With("STUN is spoken over UDP"))
	}
}

// Run implements httpd.Service.
func (measured) Run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}
