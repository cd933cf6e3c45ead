package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// A lost link is tried for at once, at the address that the resolver knows now; what nobody
// has asked for is given up after a while.
func TestHeals(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		pk, _ := b.neighbour(sv, "10.0.0.1:1")
		must(t, b.Ensure(t.Context(), pk))
		sv.mu.Lock()
		sv.records[pk] = deployment.Record{RemoteAddr: b.plane.set("10.0.0.2:1", true)}
		sv.mu.Unlock()
		b.plane.lose(pk, link.STCPR)
		time.Sleep(time.Second)
		if i := b.find(pk); i.State != StateUp {
			t.Fatalf("not healed: %+v", i)
		}
		b.plane.set("10.0.0.2:1", false)
		b.plane.lose(pk, link.STCPR)
		time.Sleep(demandLife - time.Second)
		before, _ := b.plane.count()
		if i := b.find(pk); i.State == StateUp {
			t.Errorf("%+v", i)
		}
		time.Sleep(time.Hour)
		after, links := b.plane.count()
		if after > before+2 || links != 0 || len(b.List()) != 0 {
			t.Errorf("still tried: %d attempts, then %d; %d links, %v", before, after, links, b.List())
		}
		if before > 20 {
			t.Errorf("%d attempts", before)
		}
	})
}

// What is refused is said at once, what is there costs nothing, and what does not answer
// takes as long as an attempt may.
func TestTakesNoLonger(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		took := func(pk cipher.PubKey, want error) time.Duration {
			t.Helper()
			began := time.Now()
			if err := b.Ensure(t.Context(), pk); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			return time.Since(began)
		}
		stranger, _ := cipher.GenerateKeyPair()
		if d := took(stranger, ErrNoWay); d > 100*time.Millisecond {
			t.Errorf("a stranger took %v", d)
		}
		pk, _ := b.neighbour(sv, "10.0.0.1:1")
		if d := took(pk, nil); d > 100*time.Millisecond {
			t.Errorf("a new one took %v", d)
		}
		if d := took(pk, nil); d != 0 {
			t.Errorf("one that is there took %v", d)
		}
		silent, _ := b.neighbour(sv, "10.0.0.2:1")
		b.plane.mute(netip.MustParseAddrPort("10.0.0.2:1"))
		if d := took(silent, ErrNoWay); d > ensureTimeout {
			t.Errorf("a silent one took %v", d)
		}
	})
}

// Persistent transports are tried for ever, also those that never worked.
func TestPersistent(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	s := Settings{Persistent: []Wanted{{PK: pk, Type: "stcpr"}}, Table: map[cipher.PubKey]string{pk: "10.0.0.1:1"}}
	inBubble(t, s, func(t *testing.T, b *bubble, _ *services) {
		time.Sleep(time.Hour)
		if i := b.find(pk); i.State != StateConnecting || !i.Persistent {
			t.Errorf("%+v", i)
		}
		if begun, _ := b.plane.count(); begun < 50 || begun > 300 {
			t.Errorf("%d attempts in an hour", begun)
		}
		b.plane.set("10.0.0.1:1", true)
		time.Sleep(2 * retryMost)
		if i := b.find(pk); i.State != StateUp || !i.Persistent || i.Label != LabelUser {
			t.Errorf("%+v", i)
		}
		must(t, b.Apply(Settings{}))
		if i := b.find(pk); i.State != StateUp || i.Persistent {
			t.Errorf("without it in the settings: %+v", i)
		}
		if err := b.Apply(Settings{Persistent: []Wanted{{PK: pk, Type: "pigeon"}, {PK: b.pk}}, Table: map[cipher.PubKey]string{pk: "x"}}); !errors.Is(err, ErrType) || !errors.Is(err, ErrSelf) {
			t.Errorf("bad settings: %v", err)
		}
	})
}

func TestAddRemove(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		pk, _ := b.neighbour(sv, "10.0.0.1:1")
		i, err := b.Add(t.Context(), pk, "stcpr", Options{Label: "mine"})
		must(t, err)
		if i.State != StateUp || i.Label != "mine" || i.Type != "stcpr" || i.PK != pk {
			t.Errorf("%+v", i)
		}
		if _, err := b.Add(t.Context(), pk, "stcpr", Options{}); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
		must(t, b.Remove(i.ID))
		synctest.Wait()
		if _, links := b.plane.count(); links != 0 || len(b.List()) != 0 {
			t.Errorf("left: %d links, %+v", links, b.List())
		}
		if err := b.Remove(i.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("twice: %v", err)
		}
		stranger, _ := cipher.GenerateKeyPair()
		if _, err := b.Add(t.Context(), stranger, "", Options{}); !errors.Is(err, ErrNoWay) {
			t.Errorf("stranger: %v", err)
		}
		if len(b.List()) != 0 || len(b.wants) != 0 {
			t.Errorf("left: %+v", b.List())
		}
		if _, err := b.Add(t.Context(), stranger, "", Options{Persistent: true}); !errors.Is(err, ErrNoWay) || len(b.List()) != 1 {
			t.Errorf("persistent: %v, %v", err, b.List())
		}
		must(t, b.RemovePeer(stranger, ""))
		if _, err := b.Add(t.Context(), stranger, "stcpr", Options{Addr: "10.0.0.1:1"}); err != nil {
			t.Errorf("by address: %v", err)
		}
		for _, tt := range []struct {
			pk  cipher.PubKey
			typ string
			o   Options
		}{{pk, "pigeon", Options{}}, {b.pk, "", Options{}}, {cipher.PubKey{}, "", Options{}}, {pk, "dmsg", Options{Addr: "1.1.1.1:1"}}, {pk, "stcpr", Options{Addr: "x"}}} {
			if _, err := b.Add(t.Context(), tt.pk, tt.typ, tt.o); err == nil {
				t.Errorf("%v, %q, %v: no error", tt.pk, tt.typ, tt.o)
			}
		}
	})
}

// Three of many public visors are chosen, and another where one cannot be reached.
func TestAuto(t *testing.T) {
	inBubble(t, Settings{Auto: true}, func(t *testing.T, b *bubble, sv *services) {
		for i := range 10 {
			pk, _ := b.neighbour(sv, fmt.Sprintf("10.0.0.%d:1", i+1))
			if i < 3 {
				b.plane.set(fmt.Sprintf("10.0.0.%d:1", i+1), false)
			}
			sv.mu.Lock()
			sv.public[pk] = true
			sv.mu.Unlock()
		}
		up := func() (up []cipher.PubKey) {
			for _, i := range b.List() {
				if i.State == StateUp && i.Auto && i.Label == LabelAutomatic && i.Type == "stcpr" {
					up = append(up, i.PK)
				}
			}
			return up
		}
		time.Sleep(2 * time.Minute)
		if n := len(up()); n != autoPublic {
			t.Fatalf("%d automatic transports: %+v", n, b.List())
		}
		b.plane.lose(up()[0], link.STCPR)
		time.Sleep(5 * time.Minute)
		if n := len(up()); n != autoPublic {
			t.Errorf("%d automatic transports after one was lost: %+v", n, b.List())
		}
		last := up()[0]
		must(t, b.Apply(Settings{}))
		before, _ := b.plane.count()
		b.plane.lose(last, link.STCPR)
		time.Sleep(time.Hour)
		if after, links := b.plane.count(); after != before || links != autoPublic-1 {
			t.Errorf("switched off, and still %d attempts, %d links", after-before, links)
		}
	})
}

// Who could not be reached is left alone for a while.
func TestAutoShuns(t *testing.T) {
	inBubble(t, Settings{Auto: true}, func(t *testing.T, b *bubble, sv *services) {
		pk, _ := b.neighbour(sv, "10.0.0.1:1")
		b.plane.set("10.0.0.1:1", false)
		sv.mu.Lock()
		sv.public[pk] = true
		sv.mu.Unlock()
		time.Sleep(autoShun)
		if begun, _ := b.plane.count(); begun != autoFailures {
			t.Errorf("%d attempts, want %d", begun, autoFailures)
		}
		b.plane.set("10.0.0.1:1", true)
		time.Sleep(2 * autoMost)
		if i := b.find(pk); i.State != StateUp {
			t.Errorf("afterwards: %+v", i)
		}
	})
}

func TestNetworkChanged(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		pk, _ := b.neighbour(sv, "10.0.0.1:1")
		must(t, b.Ensure(t.Context(), pk))
		sv.fail(errors.New("no network"))
		time.Sleep(5 * time.Minute)
		sv.forget()
		b.plane.lose(pk, link.STCPR)
		b.plane.set("10.0.0.1:1", true)
		time.Sleep(time.Minute)
		sv.fail(nil)
		sv.mu.Lock()
		sv.records[pk] = deployment.Record{RemoteAddr: b.plane.set("10.0.0.1:1", true)}
		sv.mu.Unlock()
		b.NetworkChanged(checkWithin)
		time.Sleep(time.Second)
		if b.plane.checks() != 1 || b.find(pk).State != StateUp || !sv.isBound(b.pk) {
			t.Errorf("%d checks, %+v, bound %v", b.plane.checks(), b.find(pk), sv.isBound(b.pk))
		}
	})
}

func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead, woken atomic.Int64
		wall := func() time.Time { return time.Now().Round(0).Add(time.Duration(ahead.Load())) }
		go watchClock(t.Context(), wall, func() { woken.Add(1) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := woken.Load(); n != 0 {
			t.Errorf("woken %d times", n)
		}
		ahead.Store(int64(time.Hour)) // asleep
		time.Sleep(2 * napEvery)
		synctest.Wait()
		if n := woken.Load(); n != 1 {
			t.Errorf("woken %d times, want once", n)
		}
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter(3, time.Second)
	pk, _ := cipher.GenerateKeyPair()
	now := time.Now()
	for i := range 3 {
		if !l.allow(pk, now) {
			t.Errorf("%d is refused", i)
		}
	}
	if l.allow(pk, now) {
		t.Error("a fourth at once")
	}
	if !l.allow(pk, now.Add(time.Second)) || l.allow(pk, now.Add(time.Second)) {
		t.Error("one more per second")
	}
	for i := range 3 * maxLimited {
		l.allow(cipher.PubKey{1: byte(i), 2: byte(i >> 8), 3: byte(i >> 16)}, now)
	}
	if len(l.keys) > maxLimited {
		t.Errorf("%d keys", len(l.keys))
	}
}
