//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// TestSameKey: a visor's folder is copied to a second machine and runs there. The older
// one is told, says so, and stops registering. Started again it is the newer one.
//
//	a ── b
//	copy ── c
func TestSameKey(t *testing.T) {
	w := newWorld(t, 4*time.Minute, false)
	dep := w.deploy("services")
	a, b, c := w.join("a", topo.NoNAT, nil, dep), w.join("b", topo.NoNAT, nil, dep), w.join("c", topo.NoNAT, nil, dep)
	w.online(a, b, c)
	a.meet(api.SUDPH, b)
	second := w.host("copy", topo.NoNAT)
	key, err := os.ReadFile(filepath.Join(a.Dir, config.KeyFileName))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.dir, "copy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, config.KeyFileName), string(key))
	twin := w.joinAt(second, nil, dep)
	if twin.PK != a.PK {
		t.Fatal("the copy has another key")
	}
	if _, err := twin.AddTransport(w.ctx, api.TransportSpec{PK: c.PK, Type: api.STCPR}, false); err != nil {
		t.Fatal(err)
	}
	quarantined := func(n *node) string {
		s, err := n.Status(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.Deployments[0].Quarantined
	}
	start := time.Now()
	w.eventually(100*time.Second, "no visor knows that there are two", func() bool { return quarantined(a) != "" })
	t.Logf("a knows after %v: %s", time.Since(start).Round(time.Millisecond), quarantined(a))
	if why := quarantined(twin); why != "" {
		t.Errorf("the newer one gives way too: %s", why)
	}
	if out, _ := a.Ctl(w.ctx, "doctor"); !strings.Contains(out, "same key") && !strings.Contains(out, "this key") {
		t.Errorf("the doctor says nothing about it:\n%s", out)
	}
	if !a.pings(b) && !b.pings(a) {
		t.Error("links are gone as well")
	}
	// Whoever was started last stays.
	if err := a.Stop(); err != nil {
		t.Error(err)
	}
	a.restart()
	w.online(a)
	a.meet(api.SUDPH, b)
	if why := quarantined(a); why != "" {
		t.Errorf("a was started last, and still: %s", why)
	}
}

// TestTwoDeployments: b is in both, a and c in one each. Neither deployment learns about
// what is in the other, and no route leads from one into the other.
//
//	a ── b ── c
//	└ one ┘
//	     └ two ┘
func TestTwoDeployments(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	one, two := w.deploy("one", "--name", "one"), w.deploy("two", "--name", "two")
	a := w.join("a", topo.NoNAT, nil, one)
	b := w.join("b", topo.NoNAT, nil, one, two)
	c := w.join("c", topo.NoNAT, nil, two)
	w.online(a, b, c)
	a.meet(api.SUDPH, b)
	c.meet(api.SUDPH, b)
	for _, n := range []*node{a, c} {
		other, foreign := b, c
		if n == c {
			foreign = a
		}
		list, err := n.Registered(w.ctx, api.ServiceQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || !strings.Contains(fmt.Sprint(list[0].Edges), other.PK.String()) || strings.Contains(fmt.Sprint(list), foreign.PK.String()) {
			t.Errorf("in its deployment %s sees %+v", n.ns.Name, list)
		}
		if _, err := n.AddTransport(w.ctx, api.TransportSpec{PK: foreign.PK}, false); err == nil {
			t.Errorf("%s reaches %s, which is in another deployment", n.ns.Name, foreign.ns.Name)
		}
		if paths, err := n.Find(w.ctx, api.FindSpec{PK: foreign.PK}); err == nil && len(paths) > 0 {
			t.Errorf("%s finds a path into another deployment: %+v", n.ns.Name, paths)
		}
	}
	both, err := b.Registered(w.ctx, api.ServiceQuery{})
	if err != nil || len(both) != 2 || both[0].Deployment == both[1].Deployment {
		t.Errorf("b sees %+v, %v; want one transport in each", both, err)
	}
}

// TestRemoteManagement: an operator at a commands b, which allows that, and not c, which
// does not.
//
//	a ── Internet ── b, c
func TestRemoteManagement(t *testing.T) {
	w := newWorld(t, time.Minute, false)
	dep := w.deploy("services")
	a := w.join("a", topo.NoNAT, nil, dep)
	b := w.join("b", topo.PortRestricted, func(c *config.Config) { c.Management.Allow = append(c.Management.Allow, a.PK) }, dep)
	c := w.join("c", topo.NoNAT, nil, dep)
	w.online(a, b, c)
	if out := a.ctl("--visor", b.PK.String(), "status"); !strings.Contains(out, b.PK.String()) {
		t.Errorf("b's status from a:\n%s", out)
	}
	a.ctl("--visor", b.PK.String(), "transport", "add", a.PK.String())
	if got := b.transport(a).Type; got != api.STCPR && got != api.SUDPH {
		t.Errorf("b has a transport %s to a, want one of a's making", got)
	}
	start := time.Now()
	_, err := a.Ctl(w.ctx, "--visor", c.PK.String(), "status")
	if err == nil || !strings.Contains(err.Error(), "management.allow") || time.Since(start) > 10*time.Second {
		t.Errorf("c answers %v after %v, want a refusal that names management.allow", err, time.Since(start))
	}
}

// TestOwnRelay: b runs a relay and sets up routes. Once all know it, the deployment goes
// away for good; visors that have been restarted since then still find each other.
//
//	a ── b ── c
func TestOwnRelay(t *testing.T) {
	w := newWorld(t, 2*time.Minute, false)
	dep := w.deploy("services")
	h := w.host("b", topo.NoNAT)
	at := h.Addr.IPv4.Addr().String() + ":8081"
	b := w.joinAt(h, func(c *config.Config) {
		c.DmsgServer = &config.DmsgServer{Listen: "0.0.0.0:8081", PublicAddress: at, SecretKeyFile: config.RelayKeyFileName}
		c.SetupNode = true
	}, dep)
	w.eventually(10*time.Second, "b runs no relay", func() bool {
		s, err := b.Status(w.ctx)
		return err == nil && s.Relay != nil
	})
	s, err := b.Status(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	knows := func(c *config.Config) {
		c.Deployments[0].DmsgServers = append(c.Deployments[0].DmsgServers, s.Relay.PK.String()+"@"+at)
		c.Routing.SetupNodes = append(c.Routing.SetupNodes, b.PK)
		c.Routing.PathFinder = api.FinderLocal
	}
	a, c := w.join("a", topo.PortRestricted, knows, dep), w.join("c", topo.Symmetric, knows, dep)
	w.online(a, b, c)
	if err := dep.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, c} {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
		n.restart()
	}
	c.expose(c.serve(), 80, "--allow", a.PK.String())
	local := a.reach(c, 80)
	start := time.Now()
	w.eventually(60*time.Second, "a does not reach c without a deployment", func() bool {
		return <-a.send(local, 1<<20).done == nil
	})
	t.Logf("a file arrived %v after the restarts", time.Since(start).Round(time.Millisecond))
}
