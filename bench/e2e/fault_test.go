//go:build e2e && linux

package e2e

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestLoss: one packet in ten is lost on the wire, in each direction. Streams get
// slow, and stay alive and right.
//
//	A ─╳─ B
func TestLoss(t *testing.T) {
	r := chain(t, 2*time.Minute, 2)
	v := r.visors()
	a, b := v[0], v[1]
	a.connect(b, api.SUDPH, 0)
	b.expose(b.serve(), 80, "--allow", a.PK.String())
	a.expose(a.serve(), 81, "--allow", b.PK.String())
	toB, toA := a.reach(b, 80), b.reach(a, 81)
	for _, end := range []*topo.End{r.net.Links[0].A, r.net.Links[0].B} {
		// Each packet takes its own chance, not each GSO send.
		if err := errors.Join(end.NoGSO(), end.Drop(0.1)); err != nil {
			t.Fatal(err)
		}
	}
	const size = 128 << 10 // Linux, too, moves no more than about 300 kB/s here
	start := time.Now()
	for _, x := range []*transfer{a.send(toB, size), b.send(toA, size)} {
		if err := <-x.done; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d KiB each way in %v", size>>10, time.Since(start).Round(time.Millisecond))
	for _, n := range v {
		if links := ask[[]api.Link](n, "link", "ls"); len(links) != 1 || links[0].State != api.LinkUp {
			t.Errorf("links of %s: %+v", n.ns.Name, links)
		}
	}
}

// TestKilledWithDetour: of two routes the one that carries a file dies in the
// middle of it, and the file arrives.
//
//	A ── B ── C
//	└─── D ───┘
func TestKilledWithDetour(t *testing.T) {
	network, err := topo.Triangle(zerolog.Nop())
	r := newRig(t, time.Minute, network, err)
	v := r.visors()
	a, b, c, d := v[0], v[1], v[2], v[3]
	a.connect(b, api.SUDPH, 0)
	c.connect(b, api.SUDPH, 1)
	a.connect(d, api.SUDPH, 2)
	c.connect(d, api.SUDPH, 3)
	r.route(100, []*node{a, b, c})
	r.route(200, []*node{a, d, c})
	s := c.serve()
	c.expose(s, 80, "--allow", a.PK.String())
	x := a.send(a.reach(c, 80), endless)
	received := func(more int64) {
		t.Helper()
		want := s.received.Load() + more
		r.eventually(20*time.Second, "nothing more arrives", func() bool { return s.received.Load() > want })
	}
	received(4 << 20)

	victim := b
	if carried(b) < carried(d) {
		victim = d
	}
	start := time.Now()
	victim.kill()
	received(16 << 20)
	t.Logf("%s died; 16 MiB more had arrived after %v", victim.ns.Name, time.Since(start).Round(time.Millisecond))
	if err := x.finish(); err != nil {
		t.Error(err)
	}
}

// carried returns how many bytes a visor has forwarded for others.
func carried(n *node) (bytes uint64) {
	n.rig.t.Helper()
	for _, route := range ask[[]api.Route](n, "route", "ls") {
		bytes += route.Bytes
	}
	return bytes
}

// TestKilled: the only visor between dies. The client hears of it in time, the
// operator reads why, and when the visor is back everything goes on by itself.
//
//	A ── B ── C
func TestKilled(t *testing.T) {
	for _, typ := range []string{api.SUDPH, api.STCPR} {
		t.Run(typ, func(t *testing.T) {
			r := chain(t, 2*time.Minute, 3)
			v := r.visors()
			a, b, c := v[0], v[1], v[2]
			a.connect(b, typ, 0)
			c.connect(b, typ, 1)
			r.route(100, v, "--save")
			s := c.serve()
			c.expose(s, 80, "--allow", a.PK.String())
			local := a.reach(c, 80)
			x := a.send(local, endless)
			r.eventually(10*time.Second, "nothing arrives", func() bool { return s.received.Load() > 4<<20 })

			start := time.Now()
			b.kill()
			err := <-x.done
			took := time.Since(start)
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("the client got %v, want a reset", err)
			}
			if took > 15*time.Second {
				t.Errorf("the client heard of it after %v, want at most 15 s", took)
			}
			var why string
			r.eventually(2*time.Second, "the forward does not say why", func() bool {
				why = ask[[]api.Forward](a, "forward", "ls")[0].LastError
				return why != ""
			})
			t.Logf("after %v: %v; skyctl: %s", took.Round(time.Millisecond), err, why)
			if !strings.Contains(why, "gone") {
				t.Errorf("the forward says %q", why)
			}

			b.restart()
			start = time.Now()
			r.eventually(30*time.Second, "C does not answer", func() bool {
				_, err := a.Ctl(r.ctx, "ping", "--count", "1", "--timeout", "1s", c.PK.String())
				return err == nil
			})
			t.Logf("an answer %v after the restart", time.Since(start).Round(time.Millisecond))
			if err := <-a.send(local, 4<<20).done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWrongKey: at the address lives another key than the operator thinks.
//
//	A ── B
func TestWrongKey(t *testing.T) {
	for _, typ := range []string{api.SUDPH, api.STCPR} {
		t.Run(typ, func(t *testing.T) {
			r := chain(t, time.Minute, 2)
			v := r.visors()
			a, b := v[0], v[1]
			other, _ := cipher.GenerateKeyPair()
			addr := r.addr(b, 0)
			start := time.Now()
			_, err := a.Ctl(r.ctx, "link", "add", "--type", typ, other.String(), addr)
			took := time.Since(start)
			want := "no visor with key " + other.String() + " answered at " + addr + "; another key may live there"
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("skyctl says %v, want %q", err, want)
			}
			if took > 5*time.Second {
				t.Errorf("it took %v, want at most 5 s", took)
			}
			t.Logf("after %v", took.Round(time.Millisecond))
			if drops := b.drops(); drops["link: bad_mac1"] == 0 {
				t.Errorf("B counts %v", drops)
			}
		})
	}
}

// TestRestart: SIGTERM ends a visor soon and well, in the middle of a transfer; what
// was saved is there again when it comes back.
//
//	A ── B
func TestRestart(t *testing.T) {
	r := chain(t, time.Minute, 2)
	v := r.visors()
	a, b := v[0], v[1]
	a.connect(b, api.SUDPH, 0, "--save")
	s := b.serve()
	b.expose(s, 80, "--allow", a.PK.String(), "--save")
	local := a.reach(b, 80, "--save")
	other, _ := cipher.GenerateKeyPair()
	a.ctl("route", "add-rule", "--save", "--in", b.PK.String()+":17", "--out", other.String()+":18")
	for _, n := range v {
		x := a.send(local, endless)
		r.eventually(10*time.Second, "nothing arrives", func() bool { return x.sent.Load() > 8<<20 })
		start := time.Now()
		if err := n.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := n.Wait(); err != nil {
			t.Errorf("visor %s ended with %v", n.ns.Name, err)
		}
		took := time.Since(start)
		if took > 3*time.Second {
			t.Errorf("visor %s took %v to end", n.ns.Name, took)
		}
		if err := <-x.done; err == nil {
			t.Error("the file arrived although a visor went away")
		}
		t.Logf("visor %s ended in %v", n.ns.Name, took.Round(time.Millisecond))
		n.restart()
		r.eventually(15*time.Second, "the link does not come back", func() bool {
			_, err := a.Ctl(r.ctx, "ping", "--count", "1", "--timeout", "1s", b.PK.String())
			return err == nil
		})
	}
	if err := <-a.send(local, 4<<20).done; err != nil {
		t.Error(err)
	}
	if st := ask[api.Status](a, "status"); st.LinksUp != 1 || st.Rules != 1 || st.Forwards != 1 {
		t.Errorf("after a restart A has %d links, %d rules, %d forwards", st.LinksUp, st.Rules, st.Forwards)
	}
}

// TestBadConfig: mistakes in a configuration are all told, with their lines, and
// the visor does not start.
func TestBadConfig(t *testing.T) {
	r := chain(t, time.Minute, 1)
	a := r.visor(0, func(c *config.Config) { c.LogLevel = "warn" })
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	text := "{\n \"secret_key_file\": \"secret.key\",\n \"listen_udp\": \"everywhere\",\n \"workes\": 2\n}\n"
	writeFile(t, a.File, text)
	err := a.Restart(r.ctx)
	if err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("the visor ended with %v, want exit status 1", err)
	}
	for _, want := range []string{a.File + ":3:", a.File + ":4:", "listen_udp", "workes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in what the visor says: %v", want, err)
		}
	}
}
