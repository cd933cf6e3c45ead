//go:build e2e && linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A relay is a skydmsg in a namespace.
type relay struct {
	rig  *rig
	ns   *topo.Namespace
	pk   cipher.PubKey
	key  string // file with its secret key
	log  *os.File
	cmd  *topo.Cmd
	stop context.CancelFunc
}

// relayPort is where relays listen.
const relayPort = ":8081"

// relay starts one in the i-th namespace, and ends it with the test.
func (r *rig) relay(i int) *relay {
	r.t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	x := &relay{rig: r, ns: r.net.NS[i], pk: pk, key: filepath.Join(r.dir, "relay.key")}
	if err := cipher.SaveSecKey(x.key, sk); err != nil {
		r.t.Fatal(err)
	}
	var err error
	if x.log, err = os.Create(filepath.Join(r.dir, "relay.log")); err != nil {
		r.t.Fatal(err)
	}
	x.start()
	r.t.Cleanup(func() {
		x.stop()
		_ = x.cmd.Wait() // tests that care how it ends look for themselves
		x.log.Close()
		if text, _ := os.ReadFile(x.log.Name()); r.t.Failed() {
			r.t.Logf("log of the relay:\n%s", text)
		}
	})
	return x
}

// start runs the relay. Who needs it tries until it is there.
func (x *relay) start() {
	x.rig.t.Helper()
	var ctx context.Context
	ctx, x.stop = context.WithCancel(context.WithoutCancel(x.rig.ctx))
	x.cmd = x.ns.Command(ctx, filepath.Join(binaries, "skydmsg"), "run", "--secret-key-file", x.key, "--addr", relayPort, "--health-addr=")
	x.cmd.Stdout, x.cmd.Stderr = x.log, x.log
	if err := x.cmd.Start(); err != nil {
		x.rig.t.Fatal(err)
	}
}

// kill is kill -9, and returns when the process is gone.
func (x *relay) kill() {
	x.rig.t.Helper()
	if err := x.cmd.Process.Kill(); err != nil {
		x.rig.t.Fatal(err)
	}
	if err := x.cmd.Wait(); err == nil {
		x.rig.t.Fatal("the relay ended well after SIGKILL")
	}
}

// at is how the visor at one end of a wire knows the relay at the other.
func (x *relay) at(wire *topo.Link) func(*config.Config) {
	end := wire.A
	if wire.B.NS == x.ns {
		end = wire.B
	}
	server := config.Server{PK: x.pk, Addr: end.IPv4.Addr().String() + relayPort}
	return func(c *config.Config) { c.Dmsg = &config.Dmsg{Servers: []config.Server{server}} }
}

// TestDmsgLink: two visors that reach nothing but a relay are neighbours and move files
// both ways. Killed for a moment in the middle of one, the relay delays it; killed for
// longer it ends it, and the link is back with the relay.
//
//	A ── R ── C
func TestDmsgLink(t *testing.T) {
	r := chain(t, 2*time.Minute, 3)
	x := r.relay(1)
	a, c := r.visor(0, x.at(r.net.Links[0])), r.visor(2, x.at(r.net.Links[1]))
	r.eventually(10*time.Second, "the visors do not find the relay", func() bool {
		for _, n := range []*node{a, c} {
			if d := ask[api.Status](n, "status").Dmsg; !d.Reachable || len(d.Relays) != 1 || d.Relays[0].PK != x.pk {
				return false
			}
		}
		return true
	})
	a.ctl("link", "add", "--type", "dmsg", c.PK.String())
	c.ctl("link", "add", "--type", "dmsg", a.PK.String()) // either side that is back sooner begins
	s := c.serve()
	c.expose(s, 80, "--allow", a.PK.String())
	a.expose(a.serve(), 81, "--allow", c.PK.String())
	toC, toA := a.reach(c, 80), c.reach(a, 81)
	const size = 32 << 20
	start := time.Now()
	for _, f := range []*transfer{a.send(toC, size), c.send(toA, size)} {
		if err := <-f.done; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d MiB each way at once in %v", size>>20, time.Since(start).Round(time.Millisecond))
	testDatagrams(t, a, c)

	file := a.send(toC, endless)
	received := func(limit time.Duration) {
		t.Helper()
		want := s.received.Load() + 4<<20
		r.eventually(limit, "nothing arrives", func() bool { return s.received.Load() > want })
	}
	received(10 * time.Second)
	x.kill()
	start = time.Now()
	x.start()
	received(10 * time.Second)
	t.Logf("the file goes on %v after the relay", time.Since(start).Round(time.Millisecond))
	if err := file.finish(); err != nil {
		t.Error(err)
	}

	file = a.send(toC, endless)
	received(10 * time.Second)
	start = time.Now()
	x.kill()
	r.eventually(10*time.Second, "the link is up without a relay", func() bool {
		l := ask[[]api.Link](a, "link", "ls")
		return len(l) == 1 && l[0].State == api.LinkConnecting && l[0].LastError != ""
	})
	if err := <-file.done; err == nil {
		t.Error("a file arrived in whole that was cut off")
	}
	t.Logf("the transfer ended %v after the relay", time.Since(start).Round(time.Millisecond))
	if out := a.ctl("status"); !strings.Contains(out, "no relay is connected") {
		t.Errorf("status without a relay:\n%s", out)
	}

	start = time.Now()
	x.start()
	r.eventually(20*time.Second, "the link does not come back", func() bool {
		l := ask[[]api.Link](a, "link", "ls")
		return len(l) == 1 && l[0].State == api.LinkUp
	})
	t.Logf("the link is back %v after the relay", time.Since(start).Round(time.Millisecond))
	again := a.send(toC, 4<<20)
	if err := <-again.done; err != nil {
		t.Error(err)
	}
}
