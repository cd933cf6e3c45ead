package ctl

import (
	"context"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

func (p *Program) completion() {
	cmd := p.app.Command("completion", "Print a script that completes skyctl's commands in a shell. bash: eval \"$(skyctl completion bash)\" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc.")
	shell := cmd.Arg("shell", "bash or zsh.").Required().HintOptions("bash", "zsh").Enum("bash", "zsh")
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

// completing leaves out the word at the cursor, where the shell asks how the line
// may go on: kingpin would take it, even an empty one, for the argument of a
// default command and offer nothing after "skyctl link". The shell itself picks
// from the answer what begins like that word. Flags and their values stay.
func completing(args []string) []string {
	const asked = "--completion-bash"
	n := len(args)
	if n < 2 || args[0] != asked || strings.HasPrefix(args[n-1], "-") || strings.HasPrefix(args[n-2], "-") && n > 2 {
		return args
	}
	return args[:n-1]
}
