package noise

import (
	"errors"
	"testing"
)

// TestKnownSharedSecret: who knows the static keys' secret already gets the same
// transcript; a wrong one shows, so it is indeed used.
func TestKnownSharedSecret(t *testing.T) {
	a, b := static(t, 0x11), static(t, 0x22)
	known, err := a.ECDH(b.PubKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []Pattern{KK, IK} {
		for _, wrong := range []bool{false, true} {
			shared := known
			shared[0] ^= 1
			if !wrong {
				shared = known
			}
			i, err := NewHandshake(Config{Pattern: pattern, Initiator: true, Static: a, Peer: b.PubKey(), Shared: &shared})
			if err != nil {
				t.Fatal(err)
			}
			c := Config{Pattern: pattern, Static: b}
			if pattern == KK {
				c.Peer, c.Shared = a.PubKey(), &known
			}
			r, err := NewHandshake(c)
			if err != nil {
				t.Fatal(err)
			}
			msg, err := i.WriteMessage(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.ReadMessage(nil, msg)
			if wrong {
				if !errors.Is(err, ErrMessage) {
					t.Errorf("%v: a wrong secret: %v", pattern, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if msg, err = r.WriteMessage(nil, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := i.ReadMessage(nil, msg); err != nil {
				t.Fatal(err)
			}
			ik, _ := i.Keys()
			rk, _ := r.Keys()
			if ik != rk.Swapped() {
				t.Errorf("%v: keys differ", pattern)
			}
		}
	}
}
