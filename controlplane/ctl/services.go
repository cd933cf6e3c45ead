package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
)

// services are the commands that ask the services of the visor's deployments.
func (p *Program) services() {
	cmd := p.app.Command("services", "Ask the services of the deployments that the visor is in.")
	p.call(cmd.Command("health", "Ask each service how it does.").Default(), func(ctx context.Context, visor *api.Client) error {
		all, err := visor.Health(ctx)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printHealth(all) })
	})

	transports := cmd.Command("transports", "List the transports that the transport discoveries know, of one visor or all.")
	q := queryFlags(transports)
	p.call(transports, func(ctx context.Context, visor *api.Client) error {
		all, err := visor.Registered(ctx, *q)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printRegistered(all) })
	})

	routes := cmd.Command("routes", "Ask the route finders for paths from the visor to another one.")
	policy := policyFlags(routes)
	count := routes.Flag("count", "How many paths.").Short('n').Default("3").Int()
	to := keyOf(routes.Arg("pk", "The visor's public key.").Required())
	routes.Validate(func(*kingpin.CmdClause) error { return checkPolicy(policy) })
	p.call(routes, func(ctx context.Context, visor *api.Client) error {
		paths, err := visor.Find(ctx, api.FindSpec{PK: *to, Policy: *policy, Count: *count, Finder: api.FinderService})
		if err != nil {
			return err
		}
		return p.print(paths, func() { p.printPaths(paths, false) })
	})

	p.servicesOffers(cmd.Command("sd", "List what the service discoveries know: public visors, VPN and proxy servers."))

	uptime := cmd.Command("uptime", "List how long visors were online, as the uptime trackers know it.")
	uq := queryFlags(uptime)
	p.call(uptime, func(ctx context.Context, visor *api.Client) error {
		all, err := visor.Uptimes(ctx, *uq)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printUptimes(all) })
	})

	ar := cmd.Command("ar", "Show where the address resolvers know a visor to be; the default is the visor that is asked.")
	aq := queryFlags(ar)
	p.call(ar, func(ctx context.Context, visor *api.Client) error {
		all, err := visor.Addresses(ctx, *aq)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printAddresses(all) })
	})
}

// queryFlags adds --deployment and a key to a command.
func queryFlags(cmd *kingpin.CmdClause) *api.ServiceQuery {
	var q api.ServiceQuery
	cmd.Flag("deployment", "Only the deployment with this name or key.").PlaceHolder("NAME").StringVar(&q.Deployment)
	cmd.Arg("pk", "A visor's public key.").SetValue(keyValue{&q.PK})
	return &q
}

func (p *Program) servicesOffers(cmd *kingpin.CmdClause) {
	var q api.OfferQuery
	cmd.Flag("deployment", "Only the deployment with this name or key.").PlaceHolder("NAME").StringVar(&q.Deployment)
	cmd.Flag("country", "Only in this country, two letters.").PlaceHolder("CC").StringVar(&q.Country)
	cmd.Flag("count", "At most so many.").Short('n').PlaceHolder("N").IntVar(&q.Count)
	cmd.Arg("type", "visor, vpn, skysocks, proxy or another type.").Default("visor").StringVar(&q.Type)
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		all, err := visor.Offers(ctx, q)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printOffers(all, q.Type) })
	})
}

func (p *Program) printHealth(all []api.ServiceHealth) {
	t := newTable("DEPLOYMENT", "SERVICE", "STATE", "RTT", "VERSION", "URL")
	for _, h := range all {
		state := "ok"
		if !h.OK {
			state = "down"
		}
		t.row(clean(h.Deployment), h.Service, state, millis(h.RTTMicros), orDash(clean(h.Version)), clean(h.URL))
		t.note(clean(h.Error))
	}
	t.write(p.out, "no services: the visor is in no deployment")
}

func (p *Program) printRegistered(all []api.RegisteredTransport) {
	t := newTable("DEPLOYMENT", "TRANSPORT", "TYPE", "LABEL", "FOR", "RTT", "LOSS", "MBIT/S")
	for _, x := range all {
		t.row(clean(x.Deployment), x.ID, clean(x.Type), orDash(clean(x.Label)), since(x.Registered), millis(x.RTTMicros), loss(x.LossPPM), mbps(x.Mbps))
		for _, pk := range x.Edges {
			t.note(pk.String())
		}
	}
	t.write(p.out, "no transports are registered")
}

func (p *Program) printAddresses(all []api.Address) {
	t := newTable("DEPLOYMENT", "VISOR", "SEEN AT", "ITS OWN ADDRESSES")
	for _, a := range all {
		t.row(clean(a.Deployment), a.PK.String(), orDash(clean(a.Remote)), orDash(clean(strings.Join(a.Local, ", "))))
		t.note(clean(a.Error))
	}
	t.write(p.out, "no address resolver knows it")
}

func (p *Program) printOffers(all []api.Offer, typ string) {
	t := newTable("DEPLOYMENT", "ADDRESS", "VERSION", "COUNTRY", "REGION")
	for _, o := range all {
		t.row(clean(o.Deployment), o.Address, orDash(clean(o.Version)), orDash(clean(o.Country)), orDash(clean(o.Region)))
	}
	t.write(p.out, fmt.Sprintf("nobody offers %q", clean(typ)))
}

func (p *Program) printUptimes(all []api.Uptime) {
	t := newTable("DEPLOYMENT", "VISOR", "ONLINE", "THIS MONTH", "VERSION")
	for _, u := range all {
		online := "no"
		if u.Online {
			online = "yes"
		}
		t.row(clean(u.Deployment), u.PK.String(), online, fmt.Sprintf("%.1f %%", u.Percent), orDash(clean(u.Version)))
	}
	t.write(p.out, "no visors are known")
}
