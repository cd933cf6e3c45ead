package transport

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func deploymentKey() cipher.PubKey { pk, _ := cipher.GenerateKeyPair(); return pk }

func TestEnsureSTCPR(t *testing.T) {
	n, s := newTestNetwork(t), newServices()
	id := deploymentKey()
	a, b := n.start(options{}, in(id, s)), n.start(options{}, in(id, s))
	eventually(t, "b is bound", func() bool { return s.isBound(b.pk) })
	must(t, a.Ensure(testCtx(t), b.pk))
	if !a.up(b.pk, "stcpr") && !a.up(b.pk, "sudph") {
		t.Errorf("transports: %+v", a.List())
	}
	eventually(t, "it is registered by both", func() bool { return len(s.listed()) > 0 })
	eventually(t, "both know", func() bool {
		for _, v := range []*visor{a, b} {
			for _, i := range v.List() {
				if i.State == StateUp && (!i.Registered || len(i.Deployments) != 1 || i.Deployments[0] != id) {
					return false
				}
			}
		}
		return true
	})
	began := time.Now()
	must(t, a.Ensure(testCtx(t), b.pk))
	if took := time.Since(began); took > time.Second {
		t.Errorf("what is there took %v", took)
	}
	a.stop()
	if got := s.listed(); len(got) != 0 {
		t.Errorf("still listed after the end: %v", got)
	}
}

// Both ends begin at once: one link comes of it, which both use.
func TestEnsureGlare(t *testing.T) {
	n := newTestNetwork(t)
	a, b := n.start(options{noTCP: true}), n.start(options{noTCP: true})
	var both sync.WaitGroup
	both.Go(func() { check(t, a.Ensure(testCtx(t), b.pk)) })
	both.Go(func() { check(t, b.Ensure(testCtx(t), a.pk)) })
	both.Wait()
	eventually(t, "one link by UDP, and no other", func() bool {
		return a.up(b.pk, "sudph") && b.up(a.pk, "sudph") && len(a.engine.Links()) == 1 && len(b.engine.Links()) == 1
	})
	for _, v := range []*visor{a, b} {
		eventually(t, "no attempt is left", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return len(v.punches) == 0 && len(v.attempts) == 0
		})
	}
}

func TestEnsureDmsg(t *testing.T) {
	n := newTestNetwork(t)
	a, b := n.start(options{noTCP: true, noUDP: true}), n.start(options{noTCP: true, noUDP: true})
	must(t, a.Ensure(testCtx(t), b.pk))
	eventually(t, "up over dmsg at both ends", func() bool { return a.up(b.pk, "dmsg") && b.up(a.pk, "dmsg") })
}

// A link over dmsg that came first goes when there is a direct one.
func TestUpgrade(t *testing.T) {
	n := newTestNetwork(t)
	var mu sync.Mutex
	open := false
	a := n.start(options{noTCP: true})
	b := n.start(options{noTCP: true, change: func(c *Config) {
		c.Accept = func(cipher.PubKey) bool { mu.Lock(); defer mu.Unlock(); return open }
	}})
	must(t, a.Ensure(testCtx(t), b.pk))
	eventually(t, "up over dmsg", func() bool { return a.up(b.pk, "dmsg") })
	mu.Lock()
	open = true
	mu.Unlock()
	eventually(t, "the attempt is over", func() bool { _, trying, _ := a.state(b.pk, 0); return !trying })
	a.NetworkChanged(10 * time.Second)
	eventually(t, "direct, and only that", func() bool { return a.up(b.pk, "sudph") && len(a.engine.Links()) == 1 && len(b.engine.Links()) == 1 })
}

// What cannot work is said way by way, and at once.
func TestEnsureRefused(t *testing.T) {
	n, s := newTestNetwork(t), newServices()
	a := n.start(options{}, in(deploymentKey(), s))
	stranger, _ := cipher.GenerateKeyPair()
	began := time.Now()
	err := a.Ensure(testCtx(t), stranger)
	var ee *EnsureError
	if !errors.Is(err, ErrNoWay) || !errors.As(err, &ee) || len(ee.Ways) != 3 {
		t.Fatalf("%v", err)
	}
	t.Log(err)
	if took := time.Since(began); took > ensureTimeout {
		t.Errorf("took %v", took)
	}
	if len(a.engine.Links()) != 0 {
		t.Errorf("links are left: %v", a.engine.Links())
	}
	if err := a.Ensure(testCtx(t), a.pk); !errors.Is(err, ErrSelf) {
		t.Errorf("self: %v", err)
	}
}

// Addresses go only to keys that transport.accept lists, either way.
func TestAccept(t *testing.T) {
	n := newTestNetwork(t)
	a := n.start(options{noTCP: true})
	b := n.start(options{noTCP: true, change: func(c *Config) { c.Accept = func(cipher.PubKey) bool { return false } }})
	if _, err := a.Add(testCtx(t), b.pk, "sudph", Options{}); !errors.Is(err, ErrNoWay) {
		t.Errorf("b does not accept: %v", err)
	} else {
		t.Log(err)
	}
	must(t, b.Ensure(testCtx(t), a.pk))
	if b.up(a.pk, "sudph") || !b.up(a.pk, "dmsg") {
		t.Errorf("%+v", b.List())
	}
	if _, err := b.Add(testCtx(t), a.pk, "sudph", Options{}); err != nil {
		t.Errorf("what a user names himself: %v", err)
	}
}
