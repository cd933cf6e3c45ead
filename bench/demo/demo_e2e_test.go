//go:build e2e

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the demo with a small file, in namespaces and on loopback.
func TestDemo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("end-to-end tests make network namespaces: run them as root")
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "../../cmd/skyvisor", "../../cmd/skyctl", "../../cmd/skysvc", "../../cmd/skydmsg")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tests := []struct {
		name  string
		world func() (*world, error)
		same  int // files that arrive
		want  []string
	}{
		{"namespaces", newWorld, 5, []string{
			"\ndirect         A–B ", "\nhole-punched   D–E ", "\nrelayed        D–E ", "\nthree hops     A–", " killed", "a gap of ",
		}},
		{"loopback", func() (*world, error) { return loopback("What is missing: this and that."), nil }, 4, []string{
			"What is missing", "\ndirect       A–B ", "\nrelayed      D–E ", "\nthree hops   A–", " killed", "a gap of ",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			w, err := tt.world()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := run(ctx, &out, bin, 16<<20, w, false); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if n := strings.Count(out.String(), "is the same at both ends"); n != tt.same {
				t.Errorf("%d files arrived, want %d", n, tt.same)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in the output:\n%s", want, out.String())
				}
			}
		})
	}
}
