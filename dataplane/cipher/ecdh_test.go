package cipher

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func mustStatic(t testing.TB, sk SecKey) *StaticKey {
	t.Helper()
	s, err := NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Model: the blinded multiplication against the plain one, over random keys and
// the edges of the scalar range.
func TestBlindedECDHMatchesPlain(t *testing.T) {
	secrets := []SecKey{{31: 1}, {31: 2}, secKey(t, groupOrder[:63]+"0")}
	for range 20 {
		_, sk := GenerateKeyPair()
		secrets = append(secrets, sk)
	}
	for i, sk := range secrets {
		pk, peer := GenerateKeyPair()
		want, err := ECDH(sk, pk)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := mustStatic(t, sk).ECDH(pk); err != nil || got != want {
			t.Errorf("key %d: blinded %x, %v, want %x", i, got, err, want)
		}
		mine, _ := sk.PubKey()
		if got, err := mustStatic(t, peer).ECDH(mine); err != nil || got != want {
			t.Errorf("key %d: the peer got %x, %v, want %x", i, got, err, want)
		}
	}
}

// The random halves that would leak or break something, one by one.
func TestBlindingDegenerateHalves(t *testing.T) {
	var k SecKey
	k[31] = 10
	s := mustStatic(t, k)
	peer, _ := SecKey{31: 3}.PubKey()
	want, _ := ECDH(k, peer)
	p, err := peer.point()
	if err != nil {
		t.Fatal(err)
	}
	half := func(b byte) []byte { return append(make([]byte, 31), b) }
	tests := []struct {
		name   string
		random []byte
		draws  int // how many of the 32-byte draws must be used up
	}{
		{"r = 0 leaves k itself", append(half(0), half(4)...), 2},
		{"r = k leaves the other half zero", append(half(10), half(4)...), 2},
		{"r ≥ n", append(bytes.Repeat([]byte{0xff}, 32), half(4)...), 2},
		{"both halves equal: the addition doubles", half(5), 1},
		{"r > k wraps around n", half(200), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			random := bytes.NewReader(tt.random)
			got, err := s.blinded(&p, random)
			if err != nil || got != want {
				t.Errorf("got %x, %v, want %x", got, err, want)
			}
			if used := (len(tt.random) - random.Len()) / 32; used != tt.draws {
				t.Errorf("used %d draws, want %d", used, tt.draws)
			}
		})
	}
	if _, err := s.blinded(&p, bytes.NewReader(nil)); err == nil {
		t.Error("no random bytes, no error")
	}
}

func TestECDHRefusesBadKeys(t *testing.T) {
	good, sk := GenerateKeyPair()
	s := mustStatic(t, sk)
	bad := map[string]PubKey{
		"zero":         {},
		"prefix":       {0: 5, 32: 1},
		"off curve":    {0: 2, 32: 5},
		"no canonical": PubKey(append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)),
	}
	for name, pk := range bad {
		if _, err := ECDH(sk, pk); err == nil {
			t.Errorf("%s: plain ECDH took it", name)
		}
		if _, err := s.ECDH(pk); err == nil {
			t.Errorf("%s: blinded ECDH took it", name)
		}
	}
	if _, err := ECDH(SecKey{}, good); !errors.Is(err, ErrZeroKey) {
		t.Errorf("zero secret: %v", err)
	}
	if _, err := NewStaticKey(secKeyBytes(0xff)); !errors.Is(err, ErrSecKeyRange) {
		t.Errorf("secret out of range: %v", err)
	}
}

func TestStaticKeyIs(t *testing.T) {
	_, sk := GenerateKeyPair()
	s := mustStatic(t, sk)
	other := sk
	other[0] ^= 1
	if !s.Is(sk[:]) || s.Is(other[:]) || s.Is(sk[:31]) || s.Is(nil) {
		t.Error("Is does not tell its own secret from others")
	}
}

func secKeyBytes(b byte) (sk SecKey) {
	copy(sk[:], bytes.Repeat([]byte{b}, SecKeyLen))
	return sk
}

func BenchmarkECDH(b *testing.B) {
	pk, sk := GenerateKeyPair()
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			if _, err := ECDH(sk, pk); err != nil {
				b.Fatal(err)
			}
		}
	})
	s := mustStatic(b, sk)
	b.Run("blinded", func(b *testing.B) {
		p, _ := pk.point()
		for b.Loop() {
			if _, err := s.blinded(&p, rand.Reader); err != nil {
				b.Fatal(err)
			}
		}
	})
}
