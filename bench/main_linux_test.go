package bench

import (
	"bytes"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/cli"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		name   string
		args   string
		code   int
		stdout string // is in it; empty: nothing at all
		stderr string
	}{
		{"list", "list", cli.ExitOK, "limit  ", ""},
		{"version", "--version", cli.ExitOK, "v1.2", ""},
		{"help", "--help", cli.ExitOK, "usage: skybench", ""},
		{"list as JSON", "list --json", cli.ExitOK, `"name":"limit"`, ""},
		{"nothing", "", cli.ExitUsage, "", "usage: skybench [<flags>] <command>"},
		{"no such scenario", "run nonsense", cli.ExitUsage, "", `no scenario "nonsense", there are limit`},
		{"no such command", "dance", cli.ExitUsage, "", "try --help"},
		{"no such flag", "run limit --fast", cli.ExitUsage, "", "--fast"},
		{"no such transport", "run limit --transport tcp", cli.ExitUsage, "", "stcpr"},
		{"bad values", "run limit --pairs 0 --seconds 0", cli.ExitUsage, "", "pairs: 0"},
		{"role with a broken config", "limit-tx {", cli.ExitFailed, "", "limit-tx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Main(strings.Fields(tt.args), "v1.2", strings.NewReader(""), &stdout, &stderr)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{
				{"stdout", stdout.String(), tt.stdout},
				{"stderr", stderr.String(), tt.stderr},
			} {
				if !strings.Contains(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("%s %q, want %q", out.name, out.got, out.want)
				}
			}
		})
	}
}
