package transport

import (
	"errors"
	"sync"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func deploymentKey() cipher.PubKey { pk, _ := cipher.GenerateKeyPair(); return pk }

func TestEnsureSTCPR(t *testing.T) {
	n, s := newTestNetwork(t), newServices()
	id := deploymentKey()
	a, b := n.start(options{}, in(id, s)), n.start(options{}, in(id, s))
	eventually(t, "b is bound", func() bool { return s.isBound(b.pk) })
	a.ensure(b.pk)
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
	a.stop()
	if got := s.listed(); len(got) != 0 {
		t.Errorf("still listed after the end: %v", got)
	}
}

// Both ends begin at once: one link comes of it, which both use.
func TestEnsureGlare(t *testing.T) {
	n := newTestNetwork(t)
	o := options{noTCP: true, direct: true}
	a, b := n.start(o), n.start(o)
	eventually(t, "both have one", func() bool {
		var both sync.WaitGroup
		var errs [2]error
		both.Go(func() { errs[0] = a.Ensure(testCtx(t), b.pk) })
		both.Go(func() { errs[1] = b.Ensure(testCtx(t), a.pk) })
		both.Wait()
		return errors.Join(errs[:]...) == nil
	})
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
	a.ensure(b.pk)
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
	a.ensure(b.pk)
	eventually(t, "up over dmsg", func() bool { return a.up(b.pk, "dmsg") })
	mu.Lock()
	open = true
	mu.Unlock()
	eventually(t, "the attempt is over", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.attemptsAt(b.pk)) == 0
	})
	a.NetworkChanged(patience)
	eventually(t, "direct, and only that", func() bool { return a.up(b.pk, "sudph") && len(a.engine.Links()) == 1 && len(b.engine.Links()) == 1 })
}

// What cannot work is said way by way, and at once.
func TestEnsureRefused(t *testing.T) {
	n, s := newTestNetwork(t), newServices()
	a := n.start(options{}, in(deploymentKey(), s))
	stranger, _ := cipher.GenerateKeyPair()
	err := a.Ensure(testCtx(t), stranger)
	var ee *EnsureError
	if !errors.Is(err, ErrNoWay) || !errors.As(err, &ee) || len(ee.Ways) != 3 {
		t.Fatalf("%v", err)
	}
	t.Log(err)
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
	b.ensure(a.pk)
	if b.up(a.pk, "sudph") {
		t.Errorf("%+v", b.List())
	}
	eventually(t, "what a user names himself", func() bool {
		_, err := b.Add(testCtx(t), a.pk, "sudph", Options{})
		return err == nil
	})
}
