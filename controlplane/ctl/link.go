package ctl

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) link() {
	cmd := p.app.Command("link", "Links to neighbours.")
	p.call(cmd.Command("ls", "List the links.").Default(), func(ctx context.Context, visor *api.Client) error {
		links, err := visor.Links(ctx)
		if err != nil {
			return err
		}
		return p.print(links, func() { p.printLinks(links) })
	})
	p.linkAdd(cmd.Command("add", "Connect to a visor, and keep connected: at a known address, or with --type dmsg by its key alone, through a relay to which both connect."))

	rm := cmd.Command("rm", "Close links to a neighbour.")
	pk := keyOf(rm.Arg("pk", "The neighbour's public key.").Required())
	typ := rm.Flag("type", "Only the link of this type.").Enum(api.SUDPH, api.STCPR, api.DMSG)
	save := saveFlag(rm)
	p.call(rm, func(ctx context.Context, visor *api.Client) error {
		id := api.LinkID{PK: *pk, Type: *typ}
		if err := visor.RemoveLink(ctx, id, *save); err != nil {
			return err
		}
		return p.removed(*save, id)
	})
}

func (p *Program) linkAdd(cmd *kingpin.CmdClause) {
	typ := cmd.Flag("type", "sudph (UDP), stcpr (TCP) or dmsg (through relays).").Default(api.SUDPH).Enum(api.SUDPH, api.STCPR, api.DMSG)
	wait := cmd.Flag("wait", "How long to wait until the link is up; 0s not at all.").Default("6s").Duration()
	save := saveFlag(cmd)
	pk := keyOf(cmd.Arg("pk", "The neighbour's public key.").Required())
	addr := cmd.Arg("addr", "Its address, host:port; none with --type dmsg.").String()
	cmd.Validate(func(*kingpin.CmdClause) error {
		switch {
		case *typ == api.DMSG && *addr != "":
			return api.ErrBadRequest.With("a dmsg link goes by key alone; leave %q out", *addr)
		case *typ != api.DMSG && *addr == "":
			return api.ErrBadRequest.With("required argument 'addr' not provided: the visor's address, host:port")
		}
		return nil
	})
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		spec := api.LinkSpec{PK: *pk, Type: *typ, Addr: *addr}
		if err := visor.AddLink(ctx, spec, *save); err != nil {
			return err
		}
		if *wait > 0 {
			if err := p.awaitLink(ctx, visor, spec, *wait); err != nil {
				return err
			}
		}
		return p.added("", *save, spec)
	})
}

// awaitLink waits until a link is up or an attempt has failed.
func (p *Program) awaitLink(ctx context.Context, visor *api.Client, spec api.LinkSpec, wait time.Duration) error {
	const look = 50 * time.Millisecond
	for end := time.Now().Add(wait); ; {
		links, err := visor.Links(ctx)
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.PK != spec.PK || l.Type != spec.Type {
				continue
			}
			if l.State == api.LinkUp {
				return nil
			}
			if l.LastError != "" {
				return api.ErrUnreachable.With("%s; the visor keeps trying, see \"skyctl link ls\"", l.LastError)
			}
		}
		if time.Now().After(end) {
			to := spec.PK.String()
			if spec.Addr != "" {
				to += " at " + spec.Addr
			}
			return api.ErrTimeout.With("the link to %s is not up after %v; the visor keeps trying, see \"skyctl link ls\"", to, wait)
		}
		select {
		case <-ctx.Done():
			return api.ErrTimeout.With("interrupted before the link to %s was up; the visor keeps trying, see \"skyctl link ls\"", spec.PK)
		case <-time.After(look):
		}
	}
}

func (p *Program) printLinks(links []api.Link) {
	t := newTable("NEIGHBOUR", "TYPE", "ADDRESS", "STATE", "FOR", "RTT", "MTU", "RECEIVED", "SENT")
	for _, l := range links {
		addr := cmp.Or(l.Addr, dash)
		if l.Inbound {
			addr += " (in)"
		}
		mtu := dash
		if l.MTU > 0 {
			mtu = strconv.Itoa(l.MTU)
		}
		t.row(l.PK.String(), l.Type, addr, l.State, since(l.Since), millis(l.RTTMicros), mtu, size(l.RecvBytes), size(l.SentBytes))
		if l.State != api.LinkUp {
			t.note(l.LastError)
		}
	}
	t.write(p.out, "no links; add one with \"skyctl link add <pk> <host:port>\"")
}
