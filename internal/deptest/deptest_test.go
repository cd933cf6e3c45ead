// Package deptest holds no code, only a test: which folder may import which.
package deptest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/skyminer/skywire"

// A rule forbids the Go files under the folder from to import anything at or
// below the import path to (with a $ at its end: just that package), which is
// relative to the module where it begins with one of our folders. "" as from
// means the whole module.
type rule struct {
	from, to string
	except   []string // folders under from for which the rule does not hold
	why      string
	tests    bool // tests may: they put the two ends of something together
}

// ladder is what the packages of a visor's control plane must leave alone: what the
// services have among themselves, and the floors above their own.
func ladder() (rs []rule) {
	const (
		services = "a visor speaks with services over the wire, by the types and clients of controlplane/deployment"
		above    = "that is a floor above: declare the one or two methods that are needed"
	)
	for _, side := range []string{"visor", "transport", "setup", "router", "api", "ctl", "deployment", "graph", "httpauth"} {
		for _, to := range []string{"services", "store"} {
			rs = append(rs, rule{from: "controlplane/" + side, to: "controlplane/" + to, why: services, tests: true})
		}
	}
	for _, up := range [][]string{
		{"graph", "controlplane"},
		{"deployment", "controlplane/httpauth", "controlplane/visor", "controlplane/transport", "controlplane/setup", "controlplane/router", "controlplane/api", "controlplane/ctl"},
		{"httpauth", "controlplane/visor", "controlplane/transport", "controlplane/setup", "controlplane/router", "controlplane/api", "controlplane/ctl"},
		{"transport", "controlplane/visor", "controlplane/setup", "controlplane/router", "controlplane/ctl"},
		{"setup", "controlplane/visor", "controlplane/transport", "controlplane/router", "controlplane/ctl"},
		{"router", "controlplane/visor", "controlplane/ctl"},
		{"services", "controlplane/visor", "controlplane/transport", "controlplane/router", "controlplane/ctl"},
		{"store", "controlplane/services", "controlplane/deployment", "controlplane/httpauth", "controlplane/graph"},
		{"dmsg", "controlplane/deployment", "controlplane/httpauth", "controlplane/graph", "controlplane/transport", "controlplane/setup", "controlplane/router", "controlplane/visor"},
	} {
		for _, to := range up[1:] {
			rs = append(rs, rule{from: "controlplane/" + up[0], to: to, why: above, tests: true})
		}
	}
	return rs
}

// floors of the data plane, lowest first: each may import only those before it.
var floors = []string{"cipher", "noise", "packet", "udpio", "link", "forward", "session", "netstack"}

func rules() []rule {
	rs := []rule{
		{"", "cmd", nil, "cmd holds no logic: what somebody wants to import belongs in a package", false},
		{"", "bench", []string{"cmd/skybench"}, "a product does not carry its benchmark along", false},
		{"dataplane", "controlplane", nil, "the data plane never asks the control plane a question while it moves packets", false},
		{"dataplane", "apps", nil, "apps stand above the data plane", false},
		{"dataplane", "bpf", nil, "the data plane declares the offload interface it needs and works without any", false},
		{"dataplane", "github.com/alecthomas/kingpin", nil, "a library does not parse command lines", false},
		{"dataplane", "github.com/valyala/fasthttp", nil, "HTTP belongs to the control plane", false},
		{"controlplane", "bpf", nil, "cmd/skyvisor hands the offloads in, so that the visor builds where BPF does not", false},
		{"controlplane", "apps", []string{"controlplane/visor"}, "only the visor assembles apps", false},
		{"apps", "dataplane", nil, "apps see the network as Dial, Listen and ListenPacket, so that they run over anything", false},
		{"apps", "controlplane", nil, "apps see the network as Dial, Listen and ListenPacket, so that they run over anything", false},
		{"apps", "bpf", nil, "apps see the network as Dial, Listen and ListenPacket, so that they run over anything", false},
		{"bpf", "dataplane", nil, "bpf is a leaf", false},
		{"bpf", "controlplane", nil, "bpf is a leaf", false},
		{"bpf", "apps", nil, "bpf is a leaf", false},
		{"bench/limit", "dataplane", nil, "the yardstick must not share code with what it measures", false},
		{"", "log$", nil, "zerolog, handed in by the constructor", false},
		{"", "github.com/rs/zerolog/log", nil, "that is the global logger; take one from the constructor", false},
		{"", "math/rand$", nil, "math/rand/v2 for tests and jitter, crypto/rand for secrets", false},
	}
	for i, low := range floors {
		for _, high := range floors[i+1:] {
			rs = append(rs, rule{"dataplane/" + low, "dataplane/" + high, nil, high + " is a floor above " + low, false})
		}
	}
	return append(rs, ladder()...)
}

// under says whether the slash-separated path p is dir or below it.
func under(p, dir string) bool {
	return dir == "" || p == dir || strings.HasPrefix(p, dir+"/")
}

// forbids says whether r forbids a file in folder dir to import imp.
func (r rule) forbids(dir, imp string) bool {
	for _, e := range r.except {
		if under(dir, e) {
			return false
		}
	}
	to, exact := strings.CutSuffix(r.to, "$")
	if first, _, _ := strings.Cut(to, "/"); isOurs(first) {
		if r.from == "" && under(dir, to) {
			return false // cmd/x may import cmd/x/y
		}
		to = module + "/" + to
	}
	return under(dir, r.from) && (imp == to || !exact && under(imp, to))
}

// isOurs tells our folders from the standard library and from other modules.
func isOurs(first string) bool {
	switch first {
	case "cmd", "apps", "controlplane", "bench", "images", "dataplane", "bpf", "internal":
		return true
	}
	return false
}

// imports calls f for each import of each Go file of the module, whatever its
// build tags: a rule holds on every platform.
func imports(t *testing.T, root string, f func(dir, file, imp string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f(path.Dir(rel), rel, imp)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	rs := rules()
	seen := 0
	imports(t, "../..", func(dir, file, imp string) {
		seen++
		for _, r := range rs {
			if r.forbids(dir, imp) && !(r.tests && strings.HasSuffix(file, "_test.go")) {
				t.Errorf("%s imports %s: %s", file, imp, r.why)
			}
		}
	})
	if seen < 20 {
		t.Errorf("saw %d imports; the walk does not reach the module", seen)
	}
}

// TestRules checks the checker: a rule that cannot match forbids nothing.
func TestRules(t *testing.T) {
	tests := []struct {
		dir, imp string
		want     bool
	}{
		{"dataplane/link", module + "/controlplane/visor", true},
		{"dataplane/link", module + "/dataplane/forward", true},
		{"dataplane/forward", module + "/dataplane/link", false},
		{"dataplane/cipher", module + "/dataplane/noise", true},
		{"dataplane/noise", module + "/dataplane/cipher", false},
		{"controlplane/visor", module + "/bench/topo", true},
		{"cmd/skybench", module + "/bench/topo", false},
		{"bench/scenario", module + "/bench/topo", false},
		{"cmd/skyvisor", module + "/bench/topo", true},
		{"apps/skynet", module + "/dataplane/netstack", true},
		{"controlplane/visor", module + "/apps/skynet", false},
		{"controlplane/router", module + "/apps/skynet", true},
		{"controlplane/visor", module + "/bpf/xdp", true},
		{"cmd/skyvisor", module + "/bpf/xdp", false},
		{"controlplane/transport", module + "/controlplane/services/httpd", true},
		{"controlplane/visor", module + "/controlplane/store", true},
		{"controlplane/router", module + "/controlplane/deployment", false},
		{"controlplane/deployment", module + "/controlplane/graph", false},
		{"controlplane/deployment", module + "/controlplane/httpauth", true},
		{"controlplane/graph", module + "/controlplane/deployment", true},
		{"controlplane/graph", module + "/dataplane/cipher", false},
		{"controlplane/setup", module + "/controlplane/router", true},
		{"controlplane/services", module + "/controlplane/setup", false},
		{"controlplane/services/transportdisc", module + "/controlplane/transport", true},
		{"controlplane/services/routefinder", module + "/controlplane/graph", false},
		{"bench/limit", module + "/dataplane/udpio", true},
		{"dataplane/link", "github.com/alecthomas/kingpin/v2", true},
		{"apps/skynet", "log", true},
		{"apps/skynet", "log/slog", false},
		{"apps/skynet", "logic", false},
		{"apps/skynet", "math/rand", true},
		{"apps/skynet", "math/rand/v2", false},
	}
	for _, tt := range tests {
		got := false
		for _, r := range rules() {
			got = got || r.forbids(tt.dir, tt.imp)
		}
		if got != tt.want {
			t.Errorf("%s imports %s: forbidden is %v, want %v", tt.dir, tt.imp, got, tt.want)
		}
	}
}
