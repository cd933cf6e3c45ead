//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// binaries is the folder with the programs under test, for the tests of this run.
var binaries string

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// runTests builds the programs as make does, runs the tests, and looks for what
// they left running.
func runTests(m *testing.M) (code int, err error) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			return 1, errors.New("these tests make network namespaces: CI must run them as root")
		}
		fmt.Println("SKIP: these tests make network namespaces, run them as root")
		return 0, nil
	}
	if binaries, err = os.MkdirTemp("", "skye2e-bin"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(binaries)) }()
	build := exec.Command("go", "build", "-trimpath", "-o", binaries, "../../cmd/skyvisor", "../../cmd/skyctl", "../../cmd/skydmsg", "../../cmd/skysvc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w: %s", err, out)
	}
	code = m.Run()
	// The API's client closes its idle connections within ten seconds.
	idle := goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner")
	return code, goleak.Find(idle)
}

// A rig is what one test runs: namespaces, and visors in them.
type rig struct {
	t   *testing.T
	ctx context.Context
	net *topo.Net
	dir string
}

// A node is a visor in a namespace.
type node struct {
	*cluster.Visor
	rig  *rig
	ns   *topo.Namespace
	host *topo.Host // in a world
}

// newRig takes over a network, and ends everything with the test, which may take
// limit.
func newRig(t *testing.T, limit time.Duration, n *topo.Net, err error) *rig {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("closing the network: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &rig{t: t, ctx: ctx, net: n, dir: t.TempDir()}
}

// chain is newRig with namespaces in a row.
func chain(t *testing.T, limit time.Duration, n int) *rig {
	t.Helper()
	network, err := topo.Chain(zerolog.Nop(), n)
	return newRig(t, limit, network, err)
}

// visor starts a visor in the i-th namespace. What it logged is shown where the
// test fails. edit may be nil.
func (r *rig) visor(i int, edit func(*config.Config)) *node {
	r.t.Helper()
	n := &node{rig: r, ns: r.net.NS[i]}
	place := cluster.In(n.ns, strings.ToUpper(n.ns.Name))
	var err error
	n.Visor, err = cluster.Start(context.WithoutCancel(r.ctx), place, binaries, filepath.Join(r.dir, n.ns.Name), edit)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = n.Stop() // tests that care how a visor ends look for themselves
		if r.t.Failed() {
			r.t.Logf("log of visor %s:\n%s", place.Name, n.Log())
		}
	})
	return n
}

// visors starts one in each namespace.
func (r *rig) visors() []*node {
	r.t.Helper()
	var all []*node
	for i := range r.net.NS {
		all = append(all, r.visor(i, nil))
	}
	return all
}

// kill is kill -9, and returns when the process is gone.
func (n *node) kill() {
	n.rig.t.Helper()
	if err := n.Kill(); err != nil {
		n.rig.t.Fatal(err)
	}
}

// restart runs an ended visor once more.
func (n *node) restart() {
	n.rig.t.Helper()
	if err := n.Restart(context.WithoutCancel(n.rig.ctx)); err != nil {
		n.rig.t.Fatal(err)
	}
}

// ctl runs skyctl, which must succeed.
func (n *node) ctl(args ...string) string {
	n.rig.t.Helper()
	out, err := n.Ctl(n.rig.ctx, args...)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	return out
}

// ask runs skyctl --json and decodes its answer.
func ask[T any](n *node, args ...string) T {
	n.rig.t.Helper()
	var v T
	if out := n.ctl(append([]string{"--json"}, args...)...); json.Unmarshal([]byte(out), &v) != nil {
		n.rig.t.Fatalf("skyctl --json %s answers %q", strings.Join(args, " "), out)
	}
	return v
}

// drops returns a visor's drop counters.
func (n *node) drops() map[string]uint64 {
	n.rig.t.Helper()
	return ask[api.Status](n, "status").Drops
}

// connect has n open a link to the visor to, where the wire i brings it, and waits
// until it is up. flags go to skyctl.
func (n *node) connect(to *node, typ string, wire int, flags ...string) {
	n.rig.t.Helper()
	args := append([]string{"link", "add", "--type", typ}, flags...)
	n.ctl(append(args, to.PK.String(), n.rig.addr(to, wire))...)
}

// addr returns where a visor takes links, on the i-th wire.
func (r *rig) addr(of *node, wire int) string {
	l := r.net.Links[wire]
	at := l.A
	if l.B.NS == of.ns {
		at = l.B
	}
	return netip.AddrPortFrom(at.IPv4.Addr(), 7777).String()
}

// route sets the rules of a route from the first to the last node over all of
// path, both ways. Labels count from base. flags go to skyctl.
func (r *rig) route(base int, path []*node, flags ...string) {
	r.t.Helper()
	last := len(path) - 1
	hop := func(n *node, label int) string { return n.PK.String() + ":" + strconv.Itoa(label) }
	for i, n := range path {
		// Under base+2i packets come to path[i] on their way there, under
		// base+2i+1 on their way back.
		add := func(args ...string) { n.ctl(append(append([]string{"route", "add-rule"}, args...), flags...)...) }
		there, back := base+2*i, base+2*i+1
		switch i {
		case 0:
			add("--peer", path[last].PK.String(), "--in", hop(path[1], back), "--out", hop(path[1], there+2))
		case last:
			add("--peer", path[0].PK.String(), "--in", hop(path[i-1], there), "--out", hop(path[i-1], back-2))
		default:
			add("--in", hop(path[i-1], there), "--out", hop(path[i+1], there+2))
			add("--in", hop(path[i+1], back), "--out", hop(path[i-1], back-2))
		}
	}
}

// eventually waits until cond holds, for at most limit.
func (r *rig) eventually(limit time.Duration, what string, cond func() bool) {
	r.t.Helper()
	eventually(r.t, limit, what, cond)
}

// eventually waits until cond, at most for limit; what says what is wrong otherwise. It
// asks again and again, for what it waits for happens in other processes.
func eventually(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", limit, what)
		}
	}
}

// rss returns the resident memory of a visor in bytes.
func (n *node) rss() int {
	n.rig.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.PID()))
	if err != nil {
		n.rig.t.Fatal(err)
	}
	fields := strings.Fields(string(b))
	pages, err := strconv.Atoi(fields[1]) // statm(5): size resident …
	if err != nil {
		n.rig.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
