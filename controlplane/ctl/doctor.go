package ctl

import (
	"context"

	"github.com/skyminer/skywire/controlplane/api"
)

// doctor looks for whatever keeps the visor from working well.
func (p *Program) doctor() {
	cmd := p.app.Command("doctor", "Look at the visor and its network, and say in plain words what is wrong and what to do. Ends with 1 if something is wrong.")
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		r, err := visor.Doctor(ctx)
		if err != nil {
			return err
		}
		if err := p.print(r, func() { p.printReport(r) }); err != nil {
			return err
		}
		if r.Failed() {
			return api.ErrConflict.With("something is wrong; see above")
		}
		return nil
	})
}

func (p *Program) printReport(r api.Report) {
	marks := map[string]string{api.CheckOK: "ok  ", api.CheckWarn: "WARN", api.CheckFail: "FAIL", api.CheckSkip: "–   "}
	width := 0
	for _, c := range r.Checks {
		width = max(width, len([]rune(c.Name)))
	}
	bad, warned := 0, 0
	for _, c := range r.Checks {
		p.say("%s  %-*s  %s", marks[c.Verdict], width, clean(c.Name), clean(c.Text))
		if c.Advice != "" {
			p.say("      %-*s  → %s", width, "", clean(c.Advice))
		}
		switch c.Verdict {
		case api.CheckFail:
			bad++
		case api.CheckWarn:
			warned++
		}
	}
	switch {
	case bad > 0:
		p.say("\n%d of %d checks failed", bad, len(r.Checks))
	case warned > 0:
		p.say("\nit works; %d of %d checks found what could be better", warned, len(r.Checks))
	default:
		p.say("\nall is well")
	}
}
