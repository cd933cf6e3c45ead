package ctl

import (
	"context"

	"github.com/skyminer/skywire/controlplane/api"
)

// visorCommands are about the visor as a process.
func (p *Program) visorCommands() {
	cmd := p.app.Command("visor", "The visor itself.")
	p.call(cmd.Command("info", "Show the visor's key and how it does; the same as \"skyctl status\".").Default(), p.showStatus)

	p.call(cmd.Command("reload", "Have the visor read its configuration file again, as SIGHUP does. What cannot change while it runs is named."), func(ctx context.Context, visor *api.Client) error {
		r, err := visor.Reload(ctx)
		if err != nil {
			return err
		}
		if err := p.print(r, func() { p.printReloaded(r) }); err != nil {
			return err
		}
		if len(r.Failed) > 0 {
			return api.ErrConflict.With("part of the new configuration does not work")
		}
		return nil
	})

	p.call(cmd.Command("halt", "Stop the visor."), func(ctx context.Context, visor *api.Client) error {
		if err := visor.Halt(ctx); err != nil {
			return err
		}
		return p.print(struct{}{}, func() { p.say("the visor stops") })
	})

	level := cmd.Command("log-level", "Set what the visor logs, until it restarts or reloads.")
	to := level.Arg("level", "debug, info, warn or error.").Required().Enum("debug", "info", "warn", "error")
	p.call(level, func(ctx context.Context, visor *api.Client) error {
		if err := visor.SetLogLevel(ctx, *to); err != nil {
			return err
		}
		return p.print(api.LogLevel{Level: *to}, func() { p.say("the visor logs %s and what is worse", *to) })
	})
}

func (p *Program) printReloaded(r api.Reloaded) {
	if len(r.Applied)+len(r.Restart)+len(r.Failed) == 0 {
		p.say("nothing has changed")
	}
	for _, name := range r.Applied {
		p.say("in force         %s", clean(name))
	}
	for _, name := range r.Restart {
		p.say("after a restart  %s", clean(name))
	}
	for _, name := range r.Failed {
		p.say("does not work    %s", clean(name))
	}
}
