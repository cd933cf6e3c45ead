//go:build e2e && linux

package e2e

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/store/redistest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestRelayKilledInMidTransfer: two clients have one session each, with a relay that is
// killed while it carries a file. The file is lost; within three seconds the next one
// arrives by another relay, of which they did not know, and both say why.
//
//	A ── R ── B
//	└─ (R') ──┘
func TestRelayKilledInMidTransfer(t *testing.T) {
	_, c := discovery(t, "bolt://"+filepath.Join(t.TempDir(), "disc.db"))
	r := newLoopRelay(t, c)
	a, b := newPeer(t, 1, c), newPeer(t, 1, c)
	other := newLoopRelay(t, c)
	s := b.serve()
	x, err := a.send(b, endless)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "nothing arrives", func() bool { return s.received.Load() > 4<<20 })
	killed := time.Now()
	r.kill()
	if err := <-x.done; err == nil {
		t.Error("a file arrived in whole that was cut off")
	}
	noticed := time.Since(killed)
	const limit = 3 * time.Second
	eventually(t, limit-noticed, "the other client is not reached", func() bool {
		x, err = a.send(b, 1<<20)
		return err == nil
	})
	if err := <-x.done; err != nil || time.Since(killed) > limit {
		t.Errorf("after %v: %v", time.Since(killed), err)
	}
	t.Logf("the loss was noticed after %v, a file went the other way after %v", noticed.Round(time.Millisecond), time.Since(killed).Round(time.Millisecond))
	for name, p := range map[string]*peer{"A": a, "B": b} {
		eventually(t, limit-time.Since(killed), name+" does not say that it lost a relay and has another", func() bool {
			return p.said(dmsg.EventDown, killed) && p.said(dmsg.EventMoved, killed)
		})
		if sessions := p.Sessions(); len(sessions) != 1 || sessions[0].Server != other.pk {
			t.Errorf("sessions of %s: %+v", name, sessions)
		}
	}
}

// outage is how long something is gone.
const outage = time.Minute

// TestDiscoveryGone: the discovery is killed, and is back after a minute. Sessions and
// streams live on, and clients that know each other dial each other; afterwards it
// knows everybody whom it knew before, and everything heals by itself.
func TestDiscoveryGone(t *testing.T) {
	t.Parallel()
	p, c := discovery(t, "bolt://"+filepath.Join(t.TempDir(), "disc.db"))
	r := []*loopRelay{newLoopRelay(t, c), newLoopRelay(t, c)}
	a, b := newPeer(t, 2, c), newPeer(t, 2, c)
	s := b.serve()
	a.mustSend(b)
	x := a.newTrickle(b)
	p.kill()
	gone := time.Now()
	for tick := time.Tick(outage / 12); time.Since(gone) < outage; <-tick {
		a.mustSend(b)
		x.more(t, s)
	}
	p.start()
	eventually(t, 10*time.Second, "the discovery does not answer again", func() bool { return answers(t, c) })
	for name, pk := range map[string]cipher.PubKey{"A": a.PubKey(), "B": b.PubKey(), "R": r[0].pk, "R'": r[1].pk} {
		if _, err := c.Entry(t.Context(), pk); err != nil {
			t.Errorf("%s was published, and now: %v", name, err)
		}
	}
	for name, p := range map[string]*peer{"A": a, "B": b} {
		if p.said(dmsg.EventDown, gone) {
			t.Errorf("%s lost a session", name)
		}
	}
	newPeer(t, 2, c).mustSend(b) // a stranger finds its way
	x.more(t, s)
	x.end(t)
}

// TestRedisGone: two instances of the discovery share a Redis, which is killed and is
// back after a minute. Look-ups go on, what is to be published is refused, nothing that
// was acknowledged is lost, and everything heals by itself.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	_, c := discovery(t, redis.URL())
	_, twin := discovery(t, redis.URL())
	both := []*disc.HTTPClient{c, twin}
	r := newLoopRelay(t, c)
	a, b := newPeer(t, 1, c), newPeer(t, 1, twin)
	s := b.serve()
	x := a.newTrickle(b)
	author, secret := cipher.GenerateKeyPair()
	publish := func(c *disc.HTTPClient) (*disc.Entry, error) {
		return disc.Update(t.Context(), c, secret, func(e *disc.Entry) { e.Client = &disc.Client{} })
	}
	last, err := publish(c)
	if err != nil {
		t.Fatal(err)
	}
	served := func() {
		t.Helper()
		for i, c := range both {
			for name, pk := range map[string]cipher.PubKey{"A": a.PubKey(), "B": b.PubKey(), "R": r.pk, "what was published": author} {
				if _, err := c.Entry(t.Context(), pk); err != nil {
					t.Errorf("instance %d, %s: %v", i, name, err)
				}
			}
		}
	}
	eventually(t, 5*time.Second, "the other instance does not see it", func() bool {
		_, err := twin.Entry(t.Context(), author)
		return err == nil
	})
	redis.Kill()
	gone := time.Now()
	for tick := time.Tick(outage / 12); time.Since(gone) < outage; <-tick {
		served()
		for i, c := range both {
			if _, err := publish(c); !errors.Is(err, disc.ErrUnexpected) {
				t.Errorf("instance %d, without a Redis: %v", i, err)
			}
		}
		a.mustSend(b)
		x.more(t, s)
	}
	redis.Restart()
	back := time.Now()
	for i, c := range both {
		eventually(t, 10*time.Second, "nothing can be published", func() bool {
			next, err := publish(c)
			if err == nil && next.Sequence <= last.Sequence {
				t.Errorf("instance %d: sequence %d after %d", i, next.Sequence, last.Sequence)
			}
			return err == nil
		})
	}
	t.Logf("both instances take entries %v after Redis", time.Since(back).Round(time.Millisecond))
	served()
	for name, p := range map[string]*peer{"A": a, "B": b} {
		if p.said(dmsg.EventDown, gone) {
			t.Errorf("%s lost a session", name)
		}
	}
	newPeer(t, 1, twin).mustSend(b)
	x.more(t, s)
	x.end(t)
}
