package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) route() {
	cmd := p.app.Command("route", "Routes over several hops. The visor sets them up by itself when they are needed; what is here shows, tries and forces it. A neighbour with a link needs none.")
	p.routePaths(cmd)
	ls := cmd.Command("ls", "List the routes that begin here, and the static rules; with --json, the rules alone.").Default()
	all := ls.Flag("all", "Every rule: those of routes that were set up by themselves, and direct ones, which links bring with them.").Bool()
	p.call(ls, func(ctx context.Context, visor *api.Client) error {
		rules, err := visor.Routes(ctx)
		if err != nil {
			return err
		}
		shown := slices.DeleteFunc(slices.Clone(rules), func(r api.Route) bool { return !*all && r.Kind == api.RouteDirect })
		paths, err := visor.Active(ctx)
		if err != nil && !errors.Is(err, api.ErrNoNetwork) {
			return err
		}
		return p.print(shown, func() { p.printRoutesAndRules(paths, shown, *all) })
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

// printRoutesAndRules prints the routes that begin here and, unless all is wanted, of the
// rules only those that an operator has set.
func (p *Program) printRoutesAndRules(paths []api.Path, rules []api.Route, all bool) {
	if len(paths) > 0 {
		p.printPaths(paths, true)
	}
	through := 0
	static := slices.DeleteFunc(slices.Clone(rules), func(r api.Route) bool {
		if all || r.Static {
			return false
		}
		if r.Kind == api.RouteForward {
			through++
		}
		return true
	})
	if len(static) > 0 || len(paths)+through == 0 {
		if len(paths) > 0 {
			p.say("")
		}
		p.printRoutes(static)
	}
	if through > 0 {
		p.say("routes of others pass here by %d rules; --all lists them", through)
	}
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
