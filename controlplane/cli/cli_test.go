package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

func TestRun(t *testing.T) {
	tests := []struct {
		args      string
		fails     error
		code      int
		out, errw string
	}{
		{"--help", nil, ExitOK, "usage: sky", ""},
		{"--version", nil, ExitOK, "v0", ""},
		{"a b", nil, ExitOK, "", ""},
		{"a b", errors.New("no luck"), ExitFailed, "", "sky: no luck\n"},
		{"a --nothing", nil, ExitUsage, "", `; try "sky --help"`},
	}
	for _, tt := range tests {
		var out, errw bytes.Buffer
		app := New("sky", "Do a thing.", "v0", &out, &errw)
		app.Command("a", "A.").Command("b", "B.")
		ran := ""
		code := Main(app, strings.Fields(tt.args), &errw, func(command string) error { ran = command; return tt.fails })
		said := out.String() + errw.String() // kingpin prints the version where errors go
		if code != tt.code || !strings.Contains(said, tt.out) || !strings.Contains(errw.String(), tt.errw) {
			t.Errorf("sky %s: exit code %d, %q, %q; want %d, %q, %q", tt.args, code, &out, &errw, tt.code, tt.out, tt.errw)
		}
		if want := map[string]string{"a b": "a b"}[tt.args]; ran != want {
			t.Errorf("sky %s: ran %q, want %q", tt.args, ran, want)
		}
	}
}

// A panic that is not kingpin's goes on.
func TestParsePanics(t *testing.T) {
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("recovered %v", r)
		}
	}()
	app := New("sky", "", "", &bytes.Buffer{}, &bytes.Buffer{})
	app.Action(func(*kingpin.ParseContext) error { panic("mine") })
	_, err := Parse(app, nil)
	t.Errorf("Parse returned %v", err)
}
