package noise

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	keys "github.com/skyminer/skywire/dataplane/cipher"
)

// A flood of forged handshakes must cost the responder little. Two MACs close each
// handshake message, after the WireGuard paper, sections 5.3 and 5.4.7, with keys
// and labels of our own:
//
//	| message | mac1 (16) | mac2 (16) |
//
// mac1, under a key that follows from the responder's public key, keeps out those
// who do not know whom they talk to. A responder under load also wants mac2, under
// a cookie that it sends to the address a message came from, which keeps out those
// who do not live where they say.
const (
	macLen = blake2s.Size128
	// MACsLen is the length of mac1 and mac2 together, in bytes.
	MACsLen = 2 * macLen
	// CookieReplyLen is the length of a cookie reply in bytes: nonce, sealed cookie.
	CookieReplyLen = chacha20poly1305.NonceSizeX + macLen + TagLen
	// CookieLife is how long a responder keeps the secret behind its cookies, and
	// an initiator a cookie.
	CookieLife = 120 * time.Second
)

// ErrCookie says that a cookie reply is forged, stale or answers nothing.
var ErrCookie = errors.New("noise: bad cookie reply")

// A CookieChecker is the responder's side. Safe for concurrent use: its workers
// must share one, since a cookie may come back through another socket.
type CookieChecker struct {
	mu       sync.Mutex // held for one hash of a message, about half a microsecond
	mac1     hash.Hash
	reply    cipher.AEAD
	random   io.Reader
	cookies  hash.Hash // keyed with the secret; nil before the first use
	made     time.Duration
	sum, out [macLen]byte
	source   [18]byte
}

// NewCookieChecker returns a checker for the visor with public key pk.
func NewCookieChecker(pk keys.PubKey) *CookieChecker {
	return &CookieChecker{mac1: newMAC(mac1Key(pk)), reply: cookieAEAD(pk), random: rand.Reader}
}

// CheckMAC1 reports whether msg, all of it with both MACs, is meant for us. It
// allocates nothing. msg is borrowed for the call; its length bounds the work, so
// the caller refuses messages longer than its handshakes are first.
func (c *CookieChecker) CheckMAC1(msg []byte) bool {
	body, mac1, _, ok := splitMACs(msg)
	if !ok {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return subtle.ConstantTimeCompare(sumInto(c.mac1, c.sum[:], body), mac1) == 1
}

// CheckMAC2 reports whether msg carries a cookie of ours for the address src, so
// that whoever sent it receives there. Ask CheckMAC1 first.
func (c *CookieChecker) CheckMAC2(msg []byte, src netip.AddrPort, now time.Duration) bool {
	_, _, mac2, ok := splitMACs(msg)
	if !ok {
		return false
	}
	c.mu.Lock()
	cookie, err := c.cookie(src, now)
	c.mu.Unlock()
	if err != nil {
		return false
	}
	want := newMAC(cookie[:])
	want.Write(msg[:len(msg)-macLen])
	return subtle.ConstantTimeCompare(want.Sum(nil), mac2) == 1
}

// AppendReply appends to dst the reply that gives the sender of msg a cookie for
// the address src: CookieReplyLen bytes, to be sent there under the index that msg
// names. Call it only for messages that passed CheckMAC1. It is shorter than any
// handshake message and so of no use to amplify.
//
// It fails where the random source does, or where msg is too short to have MACs.
func (c *CookieChecker) AppendReply(dst, msg []byte, src netip.AddrPort, now time.Duration) ([]byte, error) {
	_, mac1, _, ok := splitMACs(msg)
	if !ok {
		return nil, ErrMessage
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cookie, err := c.cookie(src, now)
	if err != nil {
		return nil, err
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	if _, err := io.ReadFull(c.random, nonce[:]); err != nil {
		return nil, fmt.Errorf("noise: read random bytes: %w", err)
	}
	dst = append(dst, nonce[:]...)
	return c.reply.Seal(dst, nonce[:], cookie[:], mac1), nil
}

// cookie returns the cookie for src: a MAC of address (16 bytes) and port (2,
// big-endian) under a secret that changes every CookieLife. mu is held.
func (c *CookieChecker) cookie(src netip.AddrPort, now time.Duration) ([macLen]byte, error) {
	if c.cookies == nil || now-c.made >= CookieLife {
		var secret [32]byte
		if _, err := io.ReadFull(c.random, secret[:]); err != nil {
			return [macLen]byte{}, fmt.Errorf("noise: read random bytes: %w", err)
		}
		c.cookies, c.made = newMAC(secret[:]), now
	}
	addr := src.Addr().As16() // IPv4 in its mapped form
	copy(c.source[:], addr[:])
	c.source[16], c.source[17] = byte(src.Port()>>8), byte(src.Port())
	return [macLen]byte(sumInto(c.cookies, c.out[:], c.source[:])), nil
}

// A CookieJar is the initiator's side, one per peer. Not safe for concurrent use.
type CookieJar struct {
	mac1     hash.Hash
	reply    cipher.AEAD
	cookie   [macLen]byte
	got      time.Duration
	have     bool
	lastMAC1 [macLen]byte
	waiting  bool // lastMAC1 may still be answered
}

// NewCookieJar returns an empty jar for handshakes with the responder pk.
func NewCookieJar(pk keys.PubKey) *CookieJar {
	return &CookieJar{mac1: newMAC(mac1Key(pk)), reply: cookieAEAD(pk)}
}

// AddMACs writes mac1 and mac2 over the last MACsLen bytes of msg, which must have
// them; mac2 is zero while there is no fresh cookie. It remembers the message as
// the one that a cookie reply may answer.
func (j *CookieJar) AddMACs(msg []byte, now time.Duration) error {
	body, mac1, mac2, ok := splitMACs(msg)
	if !ok {
		return fmt.Errorf("noise: no room for MACs in %d bytes", len(msg))
	}
	sumInto(j.mac1, mac1, body)
	copy(j.lastMAC1[:], mac1)
	j.waiting = true
	if !j.have || now-j.got >= CookieLife {
		j.have = false
		clear(mac2)
		return nil
	}
	sumInto(newMAC(j.cookie[:]), mac2, msg[:len(msg)-macLen])
	return nil
}

// ConsumeReply takes the cookie out of a reply to the message that went through
// AddMACs last; the caller then sends that handshake anew. Each message is
// answered once. It fails with [ErrCookie].
func (j *CookieJar) ConsumeReply(reply []byte, now time.Duration) error {
	if !j.waiting || len(reply) != CookieReplyLen {
		return ErrCookie
	}
	nonce, sealed := reply[:chacha20poly1305.NonceSizeX], reply[chacha20poly1305.NonceSizeX:]
	cookie, err := j.reply.Open(nil, nonce, sealed, j.lastMAC1[:])
	if err != nil {
		return ErrCookie
	}
	j.cookie, j.got, j.have, j.waiting = [macLen]byte(cookie), now, true, false
	return nil
}

// splitMACs cuts msg into what mac1 covers, mac1, and mac2. The parts alias msg.
func splitMACs(msg []byte) (body, mac1, mac2 []byte, ok bool) {
	n := len(msg) - MACsLen
	if n < 0 {
		return nil, nil, nil, false
	}
	return msg[:n:n], msg[n : n+macLen : n+macLen], msg[n+macLen:], true
}

// sumInto writes the MAC of data into out, 16 bytes, and returns out.
func sumInto(mac hash.Hash, out, data []byte) []byte {
	mac.Reset()
	mac.Write(data)
	return mac.Sum(out[:0])
}

func newMAC(key []byte) hash.Hash {
	mac, err := blake2s.New128(key)
	if err != nil {
		panic("noise: blake2s refuses a key of its own lengths: " + err.Error())
	}
	return mac
}

func mac1Key(pk keys.PubKey) []byte { return labelKey("skywire mac1", pk) }

func cookieAEAD(pk keys.PubKey) cipher.AEAD {
	aead, err := chacha20poly1305.NewX(labelKey("skywire cookie", pk))
	if err != nil {
		panic("noise: chacha20poly1305 refuses its own key length: " + err.Error())
	}
	return aead
}

// labelKey derives a key that everybody who knows pk can derive.
func labelKey(label string, pk keys.PubKey) []byte {
	sum := blake2s.Sum256(append([]byte(label), pk[:]...))
	return sum[:]
}
