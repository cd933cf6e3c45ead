package ctl

import (
	"context"

	"github.com/alecthomas/kingpin/v2"
)

func (p *Program) completion() {
	cmd := p.app.Command("completion", "Print a script that completes skyctl's commands in a shell. bash: eval \"$(skyctl completion bash)\" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc.")
	shell := cmd.Arg("shell", "bash or zsh.").Required().Enum("bash", "zsh")
	p.do(cmd, func(context.Context) error {
		template := kingpin.BashCompletionTemplate
		if *shell == "zsh" {
			template = kingpin.ZshCompletionTemplate
		}
		pc, err := p.app.ParseContext(nil)
		if err != nil {
			return err
		}
		return p.app.UsageForContextWithTemplate(pc, 0, template)
	})
}
