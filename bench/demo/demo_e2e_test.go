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

// TestDemo runs the demo with a small file. In namespaces it is
//
//	A ── B ── C
//
// with a veth pair for each wire and no forwarding by the kernel.
func TestDemo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("end-to-end tests make network namespaces: run them as root")
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "../../cmd/skyvisor", "../../cmd/skyctl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out, bin, 16<<20); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"A cannot reach C by itself", "is the same at both ends", "A–B–C over sudph", "A–B–C over stcpr"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the output:\n%s", want, out.String())
		}
	}
}
