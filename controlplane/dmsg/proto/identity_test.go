package proto

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestSharedWith(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	want, err := b.static.ECDH(a.PubKey())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := a.sharedWith(b.PubKey())
		if err != nil || *got != want {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
	}
	if a.shared.get(b.PubKey()) == nil {
		t.Error("it was not remembered")
	}
	if _, err := a.sharedWith(cipher.PubKey{2, 1}); err == nil {
		t.Error("a secret with what is no key")
	}
	if len(a.shared.cur) != 1 {
		t.Errorf("%d secrets are remembered", len(a.shared.cur))
	}
}

func keyOf(n uint32) (pk cipher.PubKey) {
	binary.BigEndian.PutUint32(pk[1:], n)
	return pk
}

func TestSharedCache(t *testing.T) {
	var c sharedCache
	for n := range uint32(10 * sharedGeneration) {
		c.put(keyOf(n), &[32]byte{byte(n), byte(n >> 8)})
		if n >= 7 && c.get(keyOf(7)) == nil {
			t.Fatalf("at %d: a secret in use was forgotten", n)
		}
		if len(c.cur)+len(c.old) > 2*sharedGeneration {
			t.Fatalf("%d secrets", len(c.cur)+len(c.old))
		}
		recent := max(int(n)-sharedGeneration/3, 0) // so the last 683 used are within
		if s := c.get(keyOf(uint32(recent))); s == nil || s[0] != byte(recent) || s[1] != byte(recent>>8) {
			t.Fatalf("at %d: the secret of %d is %v", n, recent, s)
		}
	}
	if c.get(keyOf(8)) != nil {
		t.Error("nothing is forgotten")
	}
}

func TestIdentityIsConcurrent(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 4 {
				in, msg1, err := a.Initiate(b.PubKey())
				if err != nil {
					t.Error(err)
					return
				}
				msg2, send, _, err := b.Respond(a.PubKey(), msg1)
				if err != nil {
					t.Error(err)
					return
				}
				_, recv, err := in.Finish(msg2)
				if err != nil {
					t.Error(err)
					return
				}
				if p, err := recv.Open(send.AppendFrames(nil, []byte("x"))[2:]); err != nil || string(p) != "x" {
					t.Errorf("%q, %v", p, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestIdentityKeepsItsSecret: not even a careless %+v shows it.
func TestIdentityKeepsItsSecret(t *testing.T) {
	id := identity(t, 0x11)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
		s := fmt.Sprintf(verb, id) + fmt.Sprintf(verb, *id.static)
		for _, secret := range []string{"1111111111", "17 17 17", "0x11, 0x11"} {
			if strings.Contains(s, secret) {
				t.Errorf("%s shows %.200s", verb, s)
			}
		}
	}
}
