package link

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// TestHurry: a neighbour that was away for minutes came back, and the first to dial
// waited for up to 30 s.
func TestHurry(t *testing.T) {
	for _, typ := range []Type{SUDPH, STCPR} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			_, sk := cipher.GenerateKeyPair()
			static, err := cipher.NewStaticKey(sk)
			if err != nil {
				t.Fatal(err)
			}
			both := func(c *Config) {
				c.Static = static
				c.TCP = c.UDP // port 0
			}
			b := newNode(t, both)
			again := func(c *Config) { c.Static, c.UDP, c.TCP = static, b.UDPAddr(), b.TCPAddr() }
			a := newNode(t, nil)
			target := map[Type]netip.AddrPort{SUDPH: b.UDPAddr(), STCPR: b.TCPAddr()}[typ]
			pk, _ := sk.PubKey()
			l, err := a.AddLink(pk, typ, target)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.WaitUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.expect(t, "up")
			b.expect(t, "up") // else it has nobody to say goodbye to
			b.stop()
			a.expect(t, "down")
			l.mu.Lock() // some minutes later
			l.state.began -= int64(5 * time.Minute)
			l.state.wait, l.state.next = retryMost, a.Now()+retryMost
			l.mu.Unlock()
			newNode(t, again)

			a.Hurry(pk, typ)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for !l.Up() {
				select {
				case e := <-a.sink.events:
					if e != "up" {
						t.Fatalf("event %q, want up", e)
					}
				case <-ctx.Done():
					t.Fatalf("the link is not up: %+v", l.Info())
				}
			}
		})
	}
}

// TestHurryPace: whoever asks all the time does not make attempts more frequent.
func TestHurryPace(t *testing.T) {
	a := newNode(t, nil)
	pk, _ := cipher.GenerateKeyPair()
	l, err := a.AddLink(pk, SUDPH, a.UDPAddr()) // nobody answers for this key
	if err != nil {
		t.Fatal(err)
	}
	now := a.Now()
	if l.hurry(now) {
		t.Error("a new link was hurried")
	}
	now += patience + second
	if !l.hurry(now) || l.hurry(now) || l.hurry(now+patience) {
		t.Error("want one series of attempts at a time")
	}
	if !l.hurry(now + patience + 1) {
		t.Error("the next series cannot begin")
	}
	if err := a.RemoveLink(pk, SUDPH); err != nil {
		t.Fatal(err)
	}
	if l.hurry(now + 2*patience + second) {
		t.Error("a link that was removed is hurried")
	}
}

// TestRetarget: a neighbour that has moved is found at its new address, not before the
// link to the old one is down.
func TestRetarget(t *testing.T) {
	for _, typ := range []Type{SUDPH, STCPR} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			pk, sk := cipher.GenerateKeyPair()
			static, err := cipher.NewStaticKey(sk)
			if err != nil {
				t.Fatal(err)
			}
			both := func(c *Config) { c.Static, c.TCP = static, c.UDP }
			addr := func(n *node) netip.AddrPort {
				return map[Type]netip.AddrPort{SUDPH: n.UDPAddr(), STCPR: n.TCPAddr()}[typ]
			}
			a, b := newNode(t, nil), newNode(t, both)
			if err := a.Retarget(pk, typ, addr(b)); !errors.Is(err, ErrNotFound) {
				t.Errorf("retarget of no link: %v", err)
			}
			l, err := a.AddLink(pk, typ, addr(b))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.WaitUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.expect(t, "up")
			b.expect(t, "up")
			moved := newNode(t, both)
			if err := a.Retarget(pk, typ, addr(moved)); err != nil {
				t.Fatal(err)
			}
			if !l.Up() || l.Info().Addr != addr(b).String() {
				t.Errorf("a link that is up was touched: %+v", l.Info())
			}
			b.stop()
			a.expect(t, "down")
			a.expect(t, "up")
			if got, want := l.Info().Addr, addr(moved).String(); got != want {
				t.Errorf("link to %s, want %s", got, want)
			}
		})
	}
}

// TestExpect: whom the policy's list does not name may come while we expect it.
func TestExpect(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, func(c *Config) { c.Policy = Policy{} })
	b.Expect(a.pk, true)
	join(t, a, b)
	if err := a.RemoveLink(b.pk, SUDPH); err != nil {
		t.Fatal(err)
	}
	b.expect(t, "down")
	b.expect(t, "detach")
	b.Expect(a.pk, false)
	l, err := a.AddLink(b.pk, SUDPH, b.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WaitUp(t.Context()); !errors.Is(err, ErrNoAnswer) || strings.Count(err.Error(), "answer") != 1 {
		t.Errorf("not expected any more: %v, want ErrNoAnswer, said once", err)
	}
}

// TestStopSaysSo: links went down with "use of closed network connection".
func TestStopSaysSo(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	l, _ := join(t, a, b)
	a.stop()
	if got := l.Info().LastError; got != errStopped.Error() {
		t.Errorf("link down: %s", got)
	}
}
