package noise

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/skyminer/skywire/dataplane/noise/internal/aead"
)

const (
	// KeyLen is the length of a transport key in bytes.
	KeyLen = aead.KeyLen
	// TagLen is how much longer than the plaintext a sealed text is, in bytes.
	TagLen = aead.TagLen
	// NonceLen is the length of a Nonce in bytes.
	NonceLen = aead.NonceLen

	// MaxCounter is the first counter that is never given out or accepted. At 10^9
	// packets a second it is 36 years away; rekeying comes 2^20 times sooner.
	MaxCounter = 1 << 60
	// MaxReserve is the most counters that one Reserve gives.
	MaxReserve = 1 << 16
)

// Errors of the data phase. They are returned as they are, so that dropping a
// forged packet allocates nothing.
var (
	// ErrAuth says that a sealed text is forged, damaged or under another key.
	ErrAuth = errors.New("noise: message authentication failed")
	// ErrExhausted says that a key has no counters left and must be replaced.
	ErrExhausted = errors.New("noise: key is used up")
	// ErrReserve says that the number asked of Reserve is not in 1..MaxReserve.
	ErrReserve = errors.New("noise: reserve count out of range")
)

// A Nonce is scratch space for one goroutine: Seal and Open write it before they
// use it. It exists because an array on the stack would escape through the AEAD's
// interface and cost an allocation per packet.
//
// Layout: prefix u32 big-endian, counter u64 little-endian. With prefix 0 that is
// the nonce of the Noise framework (revision 34, section 12.3); sessions put the
// route id there, which gives each route numbers of its own under one key.
type Nonce [NonceLen]byte

func (n *Nonce) set(prefix uint32, counter uint64) []byte {
	binary.BigEndian.PutUint32(n[:4], prefix)
	binary.LittleEndian.PutUint64(n[4:], counter)
	return n[:]
}

// A Counter gives out packet numbers from 0 on, each once. The zero value is
// ready. Safe for concurrent use; must not be copied.
type Counter struct{ next atomic.Uint64 }

// Reserve gives the n numbers first..first+n-1 to the caller. n is 1..MaxReserve.
// Numbers that are not used are lost, which costs nothing but room in the peer's
// replay window. One atomic addition.
//
// Errors: [ErrExhausted] at [MaxCounter], from then on for ever; [ErrReserve].
func (c *Counter) Reserve(n int) (first uint64, err error) {
	if n < 1 || n > MaxReserve {
		return 0, ErrReserve
	}
	// Looking first keeps refused calls from adding up until the number wraps.
	if c.next.Load() >= MaxCounter {
		return 0, ErrExhausted
	}
	end := c.next.Add(uint64(n))
	if end > MaxCounter {
		return 0, ErrExhausted
	}
	return end - uint64(n), nil
}

// Used returns how many numbers have been given out.
func (c *Counter) Used() uint64 { return min(c.next.Load(), MaxCounter) }

// A SendKey seals packets. It carries its own Counter, so that nobody can pair a
// number of an old key with a new one; users with several number spaces under one
// key (a session's routes) keep further Counters and tell them apart by prefix.
// Safe for concurrent use; must not be copied.
type SendKey struct {
	aead cipher.AEAD
	Counter
}

// NewSendKey returns a key whose counter stands at 0.
func NewSendKey(key [KeyLen]byte) *SendKey { return &SendKey{aead: aead.New(key)} }

// Seal encrypts plaintext, appends it with its tag to dst and returns the result;
// ad is authenticated alongside. To seal in place, let dst be plaintext[:0] and
// plaintext have TagLen bytes of capacity to spare; apart from that they must not
// overlap. All slices are borrowed for the call, nonce is scratch. Allocates only
// to grow dst.
//
// The caller vouches that (prefix, counter) is new to this key: it comes from
// Reserve, once.
func (k *SendKey) Seal(dst, plaintext, ad []byte, nonce *Nonce, prefix uint32, counter uint64) []byte {
	return k.aead.Seal(dst, nonce.set(prefix, counter), plaintext, ad)
}

// A RecvKey opens packets. Safe for concurrent use; the replay [Window] that
// belongs to it is not and has one owner.
type RecvKey struct{ aead cipher.AEAD }

// NewRecvKey returns the counterpart of the SendKey with the same key.
func NewRecvKey(key [KeyLen]byte) *RecvKey { return &RecvKey{aead: aead.New(key)} }

// Open checks ciphertext and ad, appends the plaintext to dst and returns the
// result. To open in place, let dst be ciphertext[:0]; apart from that they must
// not overlap. All slices are borrowed for the call, nonce is scratch. Allocates
// only to grow dst.
//
// It fails with [ErrAuth], and what was to become plaintext is then overwritten.
func (k *RecvKey) Open(dst, ciphertext, ad []byte, nonce *Nonce, prefix uint32, counter uint64) ([]byte, error) {
	out, err := k.aead.Open(dst, nonce.set(prefix, counter), ciphertext, ad)
	if err != nil {
		return nil, ErrAuth
	}
	return out, nil
}
