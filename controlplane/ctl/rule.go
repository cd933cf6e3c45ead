package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) route() {
	cmd := p.app.Command("route", "Routes over several hops. The visor sets them up by itself when they are needed; what is here shows, tries and forces it. A neighbour with a link needs none.")
	p.routePaths(cmd)
	ls := cmd.Command("ls", "List the routes that begin here, and the rules of routes that end or pass here.").Default()
	all := ls.Flag("all", "Direct routes too, which links bring with them.").Bool()
	p.call(ls, func(ctx context.Context, visor *api.Client) error {
		routes, err := visor.Routes(ctx)
		if err != nil {
			return err
		}
		shown := []api.Route{}
		for _, r := range routes {
			if *all || r.Kind != api.RouteDirect {
				shown = append(shown, r)
			}
		}
		paths, err := visor.Active(ctx)
		if err != nil && !errors.Is(err, api.ErrNoNetwork) {
			return err
		}
		return p.print(shown, func() {
			if len(paths) > 0 {
				p.printPaths(paths, true)
				p.say("")
			}
			p.printRoutes(shown)
		})
	})

	add := cmd.Command("add-rule", "Add a static rule. Without --peer, packets pass this visor from --in to --out. With --peer this visor is an end: packets from that key come in at --in, and packets to it leave at --out.")
	in := hopOf(add.Flag("in", "Which packets: neighbour and label under which they come, PK:LABEL. Labels are 1 to 65535, chosen by the visor that receives them.").PlaceHolder("PK:LABEL").Required())
	out := hopOf(add.Flag("out", "Where packets leave: neighbour, and the label under which it expects them.").PlaceHolder("PK:LABEL").Required())
	peer := add.Flag("peer", "The visor at the other end of the route.").PlaceHolder("PK")
	peerKey := keyOf(peer)
	save := saveFlag(add)
	p.call(add, func(ctx context.Context, visor *api.Client) error {
		rule := api.Rule{In: *in, Out: *out}
		if !peerKey.IsZero() {
			rule.Peer = peerKey
		}
		if err := visor.AddRule(ctx, rule, *save); err != nil {
			return err
		}
		return p.added("", *save, rule)
	})

	rm := cmd.Command("rm-rule", "Remove a static rule.")
	which := hopOf(rm.Arg("in", "The rule's --in, PK:LABEL.").Required())
	saveRm := saveFlag(rm)
	p.call(rm, func(ctx context.Context, visor *api.Client) error {
		if err := visor.RemoveRule(ctx, *which, *saveRm); err != nil {
			return err
		}
		return p.removed(*saveRm, which)
	})
}

func (p *Program) printRoutes(routes []api.Route) {
	t := newTable("KIND", "IN", "PACKETS", "BYTES")
	for _, r := range routes {
		t.row(r.Kind, r.In.String(), strconv.FormatUint(r.Packets, 10), size(r.Bytes))
		switch r.Kind {
		case api.RouteForward:
			t.note("to   " + r.Out.String())
		case api.RouteEnd:
			t.note("out  " + r.Out.String())
		}
		if r.Peer != nil && r.Kind == api.RouteEnd {
			t.note("peer " + r.Peer.String())
		}
		for _, pk := range r.Waiting {
			t.note(fmt.Sprintf("waits for a link to %s", pk))
		}
	}
	t.write(p.out, "no rules; neighbours with a link need none")
}
