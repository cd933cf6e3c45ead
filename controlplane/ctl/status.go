package ctl

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
)

func (p *Program) status() {
	p.call(p.app.Command("status", "Show the visor's key and how it does."), func(ctx context.Context, visor *api.Client) error {
		s, err := visor.Status(ctx)
		if err != nil {
			return err
		}
		return p.print(s, func() { p.printStatus(s) })
	})
}

func (p *Program) printStatus(s api.Status) {
	line := func(name, format string, args ...any) {
		p.say("%-9s %s", name, fmt.Sprintf(format, args...))
	}
	line("visor", "%s", s.PK)
	line("version", "%s, up %s", s.Version, since(&s.Started))
	line("listens", "%s", listens(s))
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
