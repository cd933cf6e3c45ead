package noise

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

const sec = time.Second

// A testRing numbers its epochs and notes which have been dropped.
type testRing struct {
	*Ring[string]
	dropped []string
	last    uint32
}

func newTestRing(t testing.TB, l Limits) *testRing {
	t.Helper()
	tr := &testRing{}
	r, err := NewRing(l, func(e *Epoch[string]) { tr.dropped = append(tr.dropped, e.User) })
	if err != nil {
		t.Fatal(err)
	}
	tr.Ring = r
	return tr
}

func (tr *testRing) epoch(name string) *Epoch[string] {
	tr.last++
	return NewEpoch(Keys{}, tr.last, 0, name)
}

func (tr *testRing) sending(now time.Duration) string {
	if e := tr.SendEpoch(now); e != nil {
		return e.User
	}
	return ""
}

func (tr *testRing) expect(t *testing.T, what, sending string, now time.Duration, dropped ...string) {
	t.Helper()
	if got := tr.sending(now); got != sending {
		t.Errorf("%s: sending with %q, want %q", what, got, sending)
	}
	if len(dropped) != len(tr.dropped) {
		t.Errorf("%s: dropped %q, want %q", what, tr.dropped, dropped)
		return
	}
	for i := range dropped {
		if tr.dropped[i] != dropped[i] {
			t.Errorf("%s: dropped %q, want %q", what, tr.dropped, dropped)
		}
	}
}

func TestRingInitiator(t *testing.T) {
	r := newTestRing(t, DefaultLimits())
	r.expect(t, "empty", "", 0)
	a, b, c := r.epoch("a"), r.epoch("b"), r.epoch("c")
	r.InstallInitiator(a, 0)
	r.expect(t, "a", "a", sec)
	r.InstallInitiator(b, 100*sec)
	r.expect(t, "b", "b", 100*sec)
	if r.Lookup(a.Local, 101*sec) != a || r.Lookup(b.Local, 101*sec) != b || r.Lookup(99, 101*sec) != nil {
		t.Error("previous and current are not both found by their index")
	}
	if r.Lookup(a.Local, 180*sec) != nil || r.Lookup(b.Local, 280*sec) != nil {
		t.Error("an epoch is found past its time")
	}
	r.InstallInitiator(c, 150*sec)
	r.expect(t, "c", "c", 150*sec, "a")
	r.expect(t, "just before the limit", "c", 330*sec-1, "a")
	r.expect(t, "at the limit", "", 330*sec, "a")
	r.Sweep(280 * sec)
	r.expect(t, "swept", "c", 280*sec, "a", "b")
	r.Clear()
	r.expect(t, "cleared", "", 280*sec, "a", "b", "c")
}

func TestRingResponderSendsOnlyAfterConfirmation(t *testing.T) {
	r := newTestRing(t, DefaultLimits())
	a, b := r.epoch("a"), r.epoch("b")
	r.InstallResponder(a, 0)
	r.expect(t, "unconfirmed", "", sec)
	if r.Lookup(a.Local, sec) != a {
		t.Fatal("next is not found by its index")
	}
	if !r.Confirm(a) || r.Confirm(a) {
		t.Error("Confirm must be true once")
	}
	r.expect(t, "confirmed", "a", sec)
	r.InstallResponder(b, 10*sec)
	r.expect(t, "rekeying", "a", 10*sec)
	if r.Confirm(a) {
		t.Error("a packet under the old keys confirmed something")
	}
	r.Confirm(b)
	r.expect(t, "rekeyed", "b", 10*sec)
	if r.Lookup(a.Local, 11*sec) != a {
		t.Error("previous is gone")
	}
	if r.Confirm(nil) {
		t.Error("nothing was confirmed")
	}
}

// A replayed first message makes a half-open epoch and touches nothing live.
func TestRingHalfOpen(t *testing.T) {
	r := newTestRing(t, DefaultLimits())
	a, b, x, y := r.epoch("a"), r.epoch("b"), r.epoch("x"), r.epoch("y")
	r.InstallInitiator(a, 0)
	r.InstallInitiator(b, sec)
	r.InstallResponder(x, 2*sec)
	r.InstallResponder(y, 3*sec)
	r.expect(t, "two replays", "b", 3*sec, "x")
	if r.Lookup(a.Local, 3*sec) != a || r.Lookup(b.Local, 3*sec) != b {
		t.Error("a live epoch is gone")
	}
	if r.Lookup(y.Local, 8*sec) != nil {
		t.Error("next is found after its time to be confirmed")
	}
	r.Sweep(8*sec - 1)
	r.expect(t, "before its time", "b", 8*sec, "x")
	r.Sweep(8 * sec)
	r.expect(t, "after its time", "b", 8*sec, "x", "y")
}

// The peer began one handshake and answered ours: it sends with either.
func TestRingInitiatorKeepsUnconfirmedNext(t *testing.T) {
	r := newTestRing(t, DefaultLimits())
	a, x, b := r.epoch("a"), r.epoch("x"), r.epoch("b")
	r.InstallInitiator(a, 0)
	r.InstallResponder(x, sec)
	r.InstallInitiator(b, 2*sec)
	r.expect(t, "crossed", "b", 2*sec, "a")
	if r.Lookup(x.Local, 2*sec) != x {
		t.Error("the peer's epoch is gone")
	}
	if r.Confirm(x) {
		t.Error("an older epoch took over")
	}
	y, c := r.epoch("y"), r.epoch("c")
	r.InstallResponder(y, 3*sec)
	r.InstallInitiator(c, 8*sec) // y can no longer be confirmed
	r.expect(t, "stale next", "c", 8*sec, "a", "y", "x")
}

func TestRingNeedRekey(t *testing.T) {
	r := newTestRing(t, DefaultLimits())
	need := func(what string, now time.Duration, want bool) {
		t.Helper()
		if got := r.NeedRekey(now); got != want {
			t.Errorf("%s: NeedRekey(%v) = %v, want %v", what, now, got, want)
		}
	}
	need("nothing to renew", 1000*sec, false)
	r.InstallInitiator(r.epoch("a"), 0)
	need("initiator, young", 120*sec-1, false)
	need("initiator, old", 120*sec, true)
	if !r.Begin(120*sec) || r.Begin(121*sec) {
		t.Error("Begin must be true once")
	}
	if at, busy := r.Attempt(); at != 120*sec || !busy {
		t.Errorf("Attempt = %v, %v", at, busy)
	}
	need("under way", 130*sec, false)
	r.Abort()
	need("failed", 130*sec, true)
	r.InstallResponder(r.epoch("x"), 131*sec)
	need("the peer was faster", 131*sec, false)
	need("but does not confirm", 136*sec, true)
	r.Begin(136 * sec)
	b := r.epoch("b")
	r.InstallInitiator(b, 137*sec)
	if _, busy := r.Attempt(); busy {
		t.Error("installing did not end the attempt")
	}
	need("renewed", 200*sec, false)
	b.Send.next.Store(1<<40 - 1)
	need("packets, just below", 200*sec, false)
	b.Send.next.Store(1 << 40)
	need("packets", 200*sec, true)

	c := r.epoch("c")
	r.InstallResponder(c, 300*sec)
	r.Confirm(c)
	need("responder, at the initiator's time", 420*sec, false)
	need("responder takes over", 430*sec, true)
	c.Send.next.Store(1 << 40)
	need("responder leaves packets to the initiator", 310*sec, false)
	c.Send.next.Store(2 << 40)
	need("responder takes over, packets", 310*sec, true)
}

func TestLimitsValidate(t *testing.T) {
	bad := map[string]func(*Limits){
		"zero":                   func(l *Limits) { *l = Limits{} },
		"takeover before rekey":  func(l *Limits) { l.TakeoverAfter = l.RekeyAfter - 1 },
		"reject before takeover": func(l *Limits) { l.RejectAfter = l.TakeoverAfter },
		"long confirmation":      func(l *Limits) { l.ConfirmWithin = l.RejectAfter + 1 },
		"too many packets":       func(l *Limits) { l.RekeyPackets = MaxCounter/4 + 1 },
	}
	for name, spoil := range bad {
		l := DefaultLimits()
		spoil(&l)
		if _, err := NewRing[int](l, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want %v", name, err, ErrConfig)
		}
	}
}

func TestWinsTie(t *testing.T) {
	a, b := cipher.PubKey{0: 2, 32: 1}, cipher.PubKey{0: 2, 32: 2}
	if !WinsTie(a, b) || WinsTie(b, a) || WinsTie(a, a) {
		t.Error("the smaller key must win, and only it")
	}
}

// Concurrent senders across many rekeys: no number is used twice under one key, and
// nobody is left without keys.
func TestRingConcurrentSenders(t *testing.T) {
	const senders, rekeys, batch = 8, 300, 5
	var dropped atomic.Int64
	r, err := NewRing(DefaultLimits(), func(*Epoch[uint32]) { dropped.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	epoch := func(i uint32) *Epoch[uint32] {
		return &Epoch[uint32]{Send: NewSendKey([32]byte{byte(i), byte(i >> 8)}), Local: i, User: i}
	}
	r.InstallInitiator(epoch(0), 0)
	type use struct {
		key   uint32
		first uint64
	}
	var (
		wg   sync.WaitGroup
		done atomic.Bool
		uses [senders][]use
	)
	for s := range senders {
		wg.Go(func() {
			for !done.Load() {
				e := r.SendEpoch(sec)
				if e == nil {
					t.Error("no keys in the middle of rekeying")
					return
				}
				first, err := e.Send.Reserve(batch)
				if err != nil {
					t.Error(err)
					return
				}
				r.Confirm(e)
				if len(uses[s]) < 20_000 {
					uses[s] = append(uses[s], use{e.User, first})
				}
			}
		})
	}
	for i := uint32(1); i <= rekeys; i++ {
		e := epoch(i)
		if i%2 == 0 {
			r.InstallInitiator(e, sec)
		} else {
			r.InstallResponder(e, sec)
			r.Confirm(r.Lookup(i, sec))
		}
		r.Sweep(sec)
	}
	done.Store(true)
	wg.Wait()
	seen := map[use]bool{}
	for _, u := range uses {
		for _, u := range u {
			if seen[u] || u.first%batch != 0 {
				t.Fatalf("key %d, counters from %d: used twice", u.key, u.first)
			}
			seen[u] = true
		}
	}
	if got, want := dropped.Load(), int64(rekeys+1-2); got != want {
		t.Errorf("%d epochs dropped, want %d", got, want)
	}
}

// A finished handshake gives two rings epochs that open each other's packets.
func TestNewEpochDirections(t *testing.T) {
	a, b := pair(t, KK, nil)
	m1, _ := a.WriteMessage(nil, nil)
	if _, err := b.ReadMessage(nil, m1); err != nil {
		t.Fatal(err)
	}
	m2, _ := b.WriteMessage(nil, nil)
	if _, err := a.ReadMessage(nil, m2); err != nil {
		t.Fatal(err)
	}
	ka, _ := a.Keys()
	kb, _ := b.Keys()
	ea, eb := NewEpoch(ka, 1, 2, "a"), NewEpoch(kb, 2, 1, "b")
	var n Nonce
	for _, ends := range [][2]*Epoch[string]{{ea, eb}, {eb, ea}} {
		sealed := ends[0].Send.Seal(nil, []byte("x"), nil, &n, 0, 0)
		if _, err := ends[1].Recv.Open(nil, sealed, nil, &n, 0, 0); err != nil {
			t.Errorf("from %s to %s: %v", ends[0].User, ends[1].User, err)
		}
		if _, err := ends[0].Recv.Open(nil, sealed, nil, &n, 0, 0); err == nil {
			t.Errorf("%s opens its own packets: one key for both directions", ends[0].User)
		}
	}
}
