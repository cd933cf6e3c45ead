package ctl

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) transport() {
	cmd := p.app.Command("transport", "Transports: links to other visors that are made by key alone, and registered in the deployments so that routes can use them.")
	p.call(cmd.Command("ls", "List the transports.").Default(), func(ctx context.Context, visor *api.Client) error {
		all, err := visor.Transports(ctx)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printTransports(all) })
	})
	p.transportAdd(cmd.Command("add", "Make a transport to a visor and wait until it is up. Without --type the best that works: direct over TCP or UDP, else through a relay."))
	p.transportRemove(cmd.Command("rm", "End a transport, by its id, or all to a key."))
	p.call(cmd.Command("types", "List the types of transports, and whether the visor can make such."), func(ctx context.Context, visor *api.Client) error {
		all, err := visor.TransportTypes(ctx)
		if err != nil {
			return err
		}
		return p.print(all, func() { p.printTransportTypes(all) })
	})
	p.transportAuto(cmd.Command("auto", "Show which transports the visor makes by itself, or switch that on or off."))
}

func (p *Program) transportAdd(cmd *kingpin.CmdClause) {
	var s api.TransportSpec
	cmd.Flag("type", "Only this type: stcpr (TCP), sudph (UDP, hole punched) or dmsg (through relays).").EnumVar(&s.Type, api.STCPR, api.SUDPH, api.DMSG)
	cmd.Flag("label", "A word for people.").StringVar(&s.Label)
	save := cmd.Flag("save", "Make it persistent: it is kept up, and stands in the visor's configuration file.").Bool()
	cmd.Arg("pk", "The visor's public key.").Required().SetValue(keyValue{&s.PK})
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		t, err := visor.AddTransport(ctx, s, *save)
		if err != nil {
			return err
		}
		return p.print(t, func() {
			p.printTransports([]api.Transport{t})
			if *save {
				p.say("kept up from now on, and saved")
			}
		})
	})
}

func (p *Program) transportRemove(cmd *kingpin.CmdClause) {
	which := cmd.Arg("which", "The transport's id, or the visor's public key.").Required().String()
	typ := cmd.Flag("type", "Of those to a key, only this type.").Enum(api.STCPR, api.SUDPH, api.DMSG)
	save := saveFlag(cmd)
	var id api.TransportID
	cmd.Validate(func(*kingpin.CmdClause) error {
		if strings.Contains(*which, "-") {
			id = api.TransportID{ID: *which}
		} else if err := (keyValue{&id.PK}).Set(*which); err != nil {
			return err
		}
		if id.Type = *typ; id.ID != "" && id.Type != "" {
			return api.ErrBadRequest.With("--type belongs to a key; %s names one transport", id.ID)
		}
		return nil
	})
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		if err := visor.RemoveTransport(ctx, id, *save); err != nil {
			return err
		}
		return p.removed(*save, id)
	})
}

func (p *Program) transportAuto(cmd *kingpin.CmdClause) {
	to := cmd.Arg("to", "on or off; without, it is shown.").Enum("on", "off")
	save := saveFlag(cmd)
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		if *to != "" {
			if err := visor.SetAutoTransports(ctx, *to == "on", *save); err != nil {
				return err
			}
		}
		a, err := visor.AutoTransports(ctx)
		if err != nil {
			return err
		}
		return p.print(a, func() { p.printAuto(a) })
	})
}

func (p *Program) printAuto(a api.Auto) {
	on := "off"
	if a.On {
		on = "on"
	}
	p.say("automatic transports are %s", on)
	for _, typ := range slices.Sorted(maps.Keys(a.Have)) {
		p.say("  %-5s %d", typ, a.Have[typ])
	}
	switch {
	case a.Public && a.PublicWhy == "":
		p.say("this visor is listed as a public one: others connect to it by themselves")
	case a.Public:
		p.say("this visor is to be a public one and is not listed as such: %s", clean(a.PublicWhy))
	}
}

func (p *Program) printTransports(all []api.Transport) {
	t := newTable("VISOR", "TYPE", "STATE", "FOR", "RTT", "LOSS", "MBIT/S", "RECEIVED", "SENT", "WHY", "REGISTERED IN")
	for _, x := range all {
		t.row(x.PK.String(), x.Type, x.State, since(x.Since), millis(x.RTTMicros), loss(x.LossPPM), mbps(x.Mbps), size(x.RecvBytes), size(x.SentBytes), x.Why, orDash(clean(strings.Join(x.Registered, ", "))))
		more := x.ID
		if x.Addr != "" {
			more += ", at " + x.Addr
		}
		if x.Label != "" {
			more += fmt.Sprintf(", %q", clean(x.Label))
		}
		t.note(more)
		if x.State != api.LinkUp {
			t.note(clean(x.LastError))
		}
	}
	t.write(p.out, "no transports; add one with \"skyctl transport add <pk>\"")
}

func (p *Program) printTransportTypes(all []api.TransportType) {
	t := newTable("TYPE", "AVAILABLE", "")
	for _, x := range all {
		yes := "no"
		if x.Available {
			yes = "yes"
		}
		t.row(x.Type, yes, clean(x.Text))
	}
	t.write(p.out, "no types")
}
