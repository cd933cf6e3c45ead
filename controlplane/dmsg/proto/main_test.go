package proto

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity returns the identity whose secret key is b, 32 times: 0x11 is A of the
// vectors, 0x22 B.
func identity(t testing.TB, b byte) *Identity {
	t.Helper()
	id, err := NewIdentity(cipher.SecKey(bytes.Repeat([]byte{b}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// fixed gives the ephemeral key that is b, 32 times.
func fixed(b byte) *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte{b}, 32)) }

// request returns a good request from a to b.
func request(a, b *Identity) *Request {
	return &Request{
		Timestamp: 1700000000000000000,
		Src:       Addr{a.PubKey(), 49153},
		Dst:       Addr{b.PubKey(), 80},
		NoiseMsg:  bytes.Repeat([]byte{0xab}, 49),
	}
}
