package link

import (
	"context"
	"net/netip"
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
