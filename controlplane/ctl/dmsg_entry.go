package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
)

func (p *Program) dmsgEntry(cmd *kingpin.CmdClause, f *dmsgFlags) {
	pk := keyOf(cmd.Arg("pk", "The key.").Required())
	p.do(cmd, func(ctx context.Context) error {
		n, err := p.network(f)
		if err != nil {
			return err
		}
		defer n.close()
		if n.dir == nil {
			return api.ErrBadRequest.With("entries are in a discovery: name one with --discovery URL")
		}
		ctx, cancel := f.within(ctx)
		defer cancel()
		e, err := n.dir.Entry(ctx, *pk)
		switch {
		case errors.Is(err, disc.ErrNotFound):
			return api.ErrNotFound.With("%s has no entry of %s: nobody with that key is online in this network", n.where(), pk)
		case err != nil:
			return n.explainLookup(err)
		}
		return p.print(e, func() { p.printEntry(e) })
	})
}

// printEntry prints an entry whose signature was found to be that of its key.
func (p *Program) printEntry(e *disc.Entry) {
	line := func(name, format string, args ...any) {
		p.say("%-10s %s", name, clean(fmt.Sprintf(format, args...)))
	}
	at := e.Time()
	line("key", "%s", e.Static)
	line("published", "%s ago, sequence %d", since(&at), e.Sequence)
	if s := e.Server; s != nil {
		line("relay", "at %s", s.Address)
		if s.AddressV6 != "" {
			line("", "at %s", s.AddressV6)
		}
		line("type", "%s", orDash(s.ServerType))
		line("free", "%d sessions", s.AvailableSessions)
	}
	if c := e.Client; c != nil {
		if e.ClientType != "" {
			line("type", "%s", e.ClientType)
		}
		for i, pk := range c.DelegatedServers {
			name := "relays"
			if i > 0 {
				name = ""
			}
			line(name, "%s", pk)
		}
		if len(c.DelegatedServers) == 0 {
			line("relays", "none: it cannot be reached")
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}
