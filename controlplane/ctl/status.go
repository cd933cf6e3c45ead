package ctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) status() {
	p.call(p.app.Command("status", "Show the visor's key and how it does."), p.showStatus)
}

func (p *Program) showStatus(ctx context.Context, visor *api.Client) error {
	s, err := visor.Status(ctx)
	if err != nil {
		return err
	}
	return p.print(s, func() { p.printStatus(s) })
}

func (p *Program) printStatus(s api.Status) {
	line := func(name, format string, args ...any) {
		p.say("%-9s %s", name, fmt.Sprintf(format, args...))
	}
	line("visor", "%s", s.PK)
	line("version", "%s, up %s", s.Version, since(&s.Started))
	line("listens", "%s", listens(s))
	p.printDmsg(s.Dmsg, line)
	for _, d := range s.Deployments {
		p.printMembership(d, line)
	}
	if len(s.Deployments) > 0 {
		line("transport", "%d up of %d", s.TransportsUp, s.Transports)
	}
	if r := s.Relay; r != nil {
		line("relay", "%s@%s, sessions %d, streams %d", r.PK, clean(r.PublicAddress), r.Sessions, r.Streams)
	}
	if s.SetupNode {
		line("setup", "sets up routes for others")
	}
	line("links", "%d up of %d", s.LinksUp, s.Links)
	line("sessions", "%d", s.Sessions)
	line("rules", "%d", s.Rules)
	line("forwards", "%d", s.Forwards)
	line("workers", "%d, heap %s", s.Workers, size(s.HeapBytes))
	if len(s.Drops) > 0 {
		var drops []string
		for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
			drops = append(drops, fmt.Sprintf("%d × %s", s.Drops[reason], reason))
		}
		line("dropped", "%s", strings.Join(drops, ", "))
	}
}

// printMembership prints how the visor stands with a deployment.
func (p *Program) printMembership(d api.Membership, line func(name, format string, args ...any)) {
	name := clean(d.Name)
	if name == "" {
		name = d.PK.Short() + "…"
	}
	reach := "not seen by an address resolver"
	switch {
	case d.Reachable:
		reach = "reached at " + clean(d.RemoteAddr)
	case d.RemoteAddr != "":
		reach = "behind a NAT or firewall at " + clean(d.RemoteAddr)
	}
	if d.Listed {
		reach += ", listed as public"
	}
	line("member of", "%s: %d transports registered, %s", name, d.Transports, reach)
	if d.Quarantined != "" {
		line("", "QUARANTINED: %s", clean(d.Quarantined))
	}
	for _, e := range d.Errors {
		line("", "%s", clean(e))
	}
	p.printDmsg(&d.Dmsg, line)
}

// printDmsg prints how the visor does in its dmsg network, a line for each relay.
func (p *Program) printDmsg(d *api.Dmsg, line func(name, format string, args ...any)) {
	if d == nil {
		return
	}
	in := "by given relays"
	if d.Discovery != "" {
		in = clean(d.Discovery)
	}
	switch {
	case d.Reachable:
		line("dmsg", "reachable, %s", in)
	case d.LastError != "":
		line("dmsg", "not reachable, %s: %s", in, clean(bare(errors.New(d.LastError))))
	default:
		line("dmsg", "not reachable yet, %s", in)
	}
	for _, r := range d.Relays {
		state := ""
		if r.Draining {
			state = ", about to stop"
		}
		line("  relay", "%s at %s for %s, RTT %s, streams %d%s", r.PK, clean(r.Addr), since(&r.Since), millis(r.RTTMicros), r.Streams, state)
	}
}

// listens writes where a visor takes links.
func listens(s api.Status) string {
	var at []string
	if s.ListenUDP != "" {
		at = append(at, "udp "+s.ListenUDP)
	}
	if s.ListenTCP != "" {
		at = append(at, "tcp "+s.ListenTCP)
	}
	if len(at) == 0 {
		return "nowhere"
	}
	return strings.Join(at, ", ")
}
