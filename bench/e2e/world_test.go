//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/cluster"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// A world is an Internet with deployments, and visors that know nothing else. Tests in
// worlds of their own run side by side: they wait more than they work.
type world struct {
	*rig
	in *topo.Internet
}

// newWorld makes an empty one for a test that may take limit.
func newWorld(t *testing.T, limit time.Duration, ipv6 bool) *world {
	t.Helper()
	t.Parallel()
	n, err := topo.New(zerolog.Nop())
	r := newRig(t, limit, n, err)
	in, err := n.Internet(ipv6)
	if err != nil {
		t.Fatal(err)
	}
	return &world{r, in}
}

// host adds a host.
func (w *world) host(name string, kind topo.NAT) *topo.Host {
	w.t.Helper()
	h, err := w.in.Host(name, kind, topo.Wire{})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// deploy runs a deployment at a host of its own.
func (w *world) deploy(name string, flags ...string) *cluster.Deployment {
	w.t.Helper()
	h := w.host(name, topo.NoNAT)
	d, err := cluster.Deploy(context.WithoutCancel(w.ctx), cluster.At(h, name), binaries, filepath.Join(w.dir, name), flags...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = d.Stop()
		if w.t.Failed() {
			w.t.Logf("log of deployment %s:\n%s", name, d.Log())
		}
	})
	return d
}

// join starts a visor at a host of its own, in these deployments. It makes no transports
// by itself unless edit, which may be nil, says so.
func (w *world) join(name string, kind topo.NAT, edit func(*config.Config), ds ...*cluster.Deployment) *node {
	w.t.Helper()
	return w.joinAt(w.host(name, kind), edit, ds...)
}

// joinAll starts visors of these names, with public addresses, and waits until they are
// online.
func (w *world) joinAll(dep *cluster.Deployment, names ...string) []*node {
	w.t.Helper()
	all := make([]*node, len(names))
	for i, name := range names {
		all[i] = w.join(name, topo.NoNAT, nil, dep)
	}
	w.online(all...)
	return all
}

// joinAt is join at a host that is there.
func (w *world) joinAt(h *topo.Host, edit func(*config.Config), ds ...*cluster.Deployment) *node {
	w.t.Helper()
	n, err := w.tryJoin(h, edit, ds...)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) tryJoin(h *topo.Host, edit func(*config.Config), ds ...*cluster.Deployment) (*node, error) {
	var urls []string
	for _, d := range ds {
		urls = append(urls, d.URL)
	}
	v, err := cluster.Join(context.WithoutCancel(w.ctx), cluster.At(h, h.Name), binaries, filepath.Join(w.dir, h.Name), urls, func(c *config.Config) {
		c.Transport.Auto = false
		if edit != nil {
			edit(c)
		}
	})
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() {
		_ = v.Stop() // tests that care how a visor ends look for themselves
		if w.t.Failed() {
			w.t.Logf("log of visor %s:\n%s", h.Name, v.Log())
		}
	})
	return &node{Visor: v, rig: w.rig, ns: h.Namespace, host: h}, nil
}

// only changes a configuration so that the visor takes links of one type only, beside
// those over dmsg.
func only(typ string) func(*config.Config) {
	return func(c *config.Config) {
		if typ == api.SUDPH {
			c.ListenTCP = ""
		}
		if typ == api.STCPR {
			c.ListenUDP = ""
		}
	}
}

// online waits until others can reach the visors over dmsg in all their deployments.
func (w *world) online(all ...*node) {
	w.t.Helper()
	for _, n := range all {
		w.eventually(20*time.Second, "visor "+n.ns.Name+" is not reachable over dmsg", func() bool {
			s, err := n.Status(w.ctx)
			return err == nil && !slices.ContainsFunc(s.Deployments, func(m api.Membership) bool { return !m.Dmsg.Reachable })
		})
	}
}

// transport returns n's transport to another visor that is up, "none" if there is none;
// a direct one rather than one over dmsg.
func (n *node) transport(to *node) api.Transport {
	n.rig.t.Helper()
	all, err := n.Transports(n.rig.ctx)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	found := api.Transport{Type: "none"}
	for _, t := range all {
		if t.PK == to.PK && t.State == api.LinkUp && (found.Type == "none" || found.Type == api.DMSG) {
			found = t
		}
	}
	return found
}

// meet has n make transports of a type to others, and waits until the deployments'
// transport discoveries list them.
func (n *node) meet(typ string, others ...*node) {
	n.rig.t.Helper()
	for _, o := range others {
		if _, err := n.AddTransport(n.rig.ctx, api.TransportSpec{PK: o.PK, Type: typ}, false); err != nil {
			n.rig.t.Fatalf("%s to %s: %v", n.ns.Name, o.ns.Name, err)
		}
		n.rig.eventually(20*time.Second, fmt.Sprintf("the transport %s–%s is not registered", n.ns.Name, o.ns.Name), func() bool {
			return len(n.transport(o).Registered) > 0
		})
	}
}

// hops are the names of the visors that a path passes, and its end.
func hops(p api.Path, all ...*node) string {
	names := make([]string, 0, len(p.Hops))
	for _, h := range p.Hops {
		name := "?"
		for _, n := range all {
			if n.PK == h.To {
				name = n.ns.Name
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// pings says whether n gets an answer from another visor now.
func (n *node) pings(to *node) bool {
	_, err := n.Ctl(n.rig.ctx, "ping", "--count", "1", "--timeout", "1s", to.PK.String())
	return err == nil
}

// freeze stops a visor without its knowledge, as a machine that hangs or sleeps; thaw lets
// it go on.
func (n *node) freeze() error { return n.Signal(syscall.SIGSTOP) }
func (n *node) thaw()         { _ = n.Signal(syscall.SIGCONT) } // it is ended soon
