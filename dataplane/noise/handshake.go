package noise

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	flynn "github.com/flynn/noise"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// What can go wrong in a handshake; errors wrap one of these.
var (
	// ErrConfig says that a Config cannot make a handshake.
	ErrConfig = errors.New("noise: bad handshake configuration")
	// ErrMessage says that a message from the peer is forged, damaged, meant for
	// somebody else or out of place.
	ErrMessage = errors.New("noise: bad handshake message")
	// ErrTurn says that it is the peer's turn, or that the handshake is over.
	ErrTurn = errors.New("noise: not our turn in the handshake")
	// ErrDead says that an earlier message failed in a way that cannot be retried.
	ErrDead = errors.New("noise: handshake has failed")
	// ErrUnfinished says that there are no keys yet.
	ErrUnfinished = errors.New("noise: handshake is not finished")
)

// MaxMessage is the longest handshake message and payload, in bytes (Noise
// revision 34, section 3).
const MaxMessage = flynn.MaxMsgLen

// A Pattern is a handshake pattern of the Noise framework (revision 34, section
// 7.5). K: the static key is known beforehand; I, X: it is sent.
type Pattern uint8

// The patterns in use: IK for links, KK for sessions and dmsg streams, XK for
// dmsg sessions.
const (
	IK Pattern = iota + 1
	KK
	XK
)

// String returns the pattern's name.
func (p Pattern) String() string {
	switch p {
	case IK:
		return "IK"
	case KK:
		return "KK"
	case XK:
		return "XK"
	}
	return fmt.Sprintf("Pattern(%d)", uint8(p))
}

func (p Pattern) pattern() (flynn.HandshakePattern, bool) {
	switch p {
	case IK:
		return flynn.HandshakeIK, true
	case KK:
		return flynn.HandshakeKK, true
	case XK:
		return flynn.HandshakeXK, true
	}
	return flynn.HandshakePattern{}, false
}

// Config describes one side of one handshake.
type Config struct {
	Pattern   Pattern
	Initiator bool
	Prologue  []byte            // both sides must have the same; borrowed until NewHandshake returns
	Static    *cipher.StaticKey // our identity
	// Peer is the other side's static key where the pattern has it known: always
	// but for responders of IK and XK, who must leave it unset.
	Peer cipher.PubKey
	// Shared is Static's ECDH with Peer for those who have kept it from an earlier
	// handshake: KK, and IK at the initiator, are then two multiplications cheaper.
	// Nil where not known. Borrowed until the handshake is over.
	Shared *[32]byte
	// Rand gives the ephemeral key, 32 bytes. Nil is the system's random source;
	// anything else belongs in tests.
	Rand io.Reader
}

func (c *Config) validate() error {
	_, known := c.Pattern.pattern()
	peerKnown := c.Initiator || c.Pattern == KK
	switch {
	case !known:
		return fmt.Errorf("%w: no pattern %v", ErrConfig, c.Pattern)
	case c.Static == nil:
		return fmt.Errorf("%w: no static key", ErrConfig)
	case peerKnown:
		if err := c.Peer.Validate(); err != nil {
			return fmt.Errorf("%w: peer: %w", ErrConfig, err)
		}
	case !c.Peer.IsZero():
		return fmt.Errorf("%w: an %v responder learns its peer's key", ErrConfig, c.Pattern)
	}
	return nil
}

// A Handshake is one side of a handshake in progress. It costs one or two
// multiplications per message for ephemeral keys and two more for each static one,
// 0.1 to 0.2 ms each: keep it off packet workers. Not safe for concurrent use.
type Handshake struct {
	state    *flynn.HandshakeState
	pattern  Pattern
	init     bool
	messages int // read and written
	total    int
	dead     bool
	peer     cipher.PubKey
	keys     Keys
}

// NewHandshake starts a handshake; nothing is multiplied yet. It fails with
// [ErrConfig].
func NewHandshake(c Config) (*Handshake, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	random := c.Rand
	if random == nil {
		random = rand.Reader
	}
	pattern, _ := c.Pattern.pattern()
	secret, public := c.Static.SecKey(), c.Static.PubKey()
	dh := Secp256k1{Static: c.Static, Peer: c.Peer, Known: c.Shared}
	fc := flynn.Config{
		CipherSuite:   flynn.NewCipherSuite(dh, flynn.CipherChaChaPoly, flynn.HashSHA256),
		Random:        random,
		Pattern:       pattern,
		Initiator:     c.Initiator,
		Prologue:      c.Prologue,
		StaticKeypair: flynn.DHKey{Private: secret[:], Public: public[:]},
	}
	if !c.Peer.IsZero() {
		fc.PeerStatic = c.Peer[:]
	}
	state, err := flynn.NewHandshakeState(fc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &Handshake{
		state: state, pattern: c.Pattern, init: c.Initiator, total: len(pattern.Messages), peer: c.Peer,
	}, nil
}

// WriteMessage appends our next message with payload inside to dst and returns
// the result. Whether payload is encrypted, and how well, depends on pattern and
// message (Noise revision 34, section 7.7). dst and payload must not overlap and
// are borrowed for the call.
//
// Errors: [ErrTurn], [ErrDead], a payload too long for [MaxMessage].
func (h *Handshake) WriteMessage(dst, payload []byte) ([]byte, error) {
	if err := h.turn(true); err != nil {
		return nil, err
	}
	if n := h.overhead() + len(payload); n > MaxMessage {
		return nil, fmt.Errorf("noise: handshake message of %d bytes, at most %d fit", n, MaxMessage)
	}
	out, cs1, cs2, err := h.state.WriteMessage(dst, payload)
	if err != nil {
		h.dead = true
		return nil, fmt.Errorf("noise: write handshake message: %w", err)
	}
	h.advance(cs1, cs2)
	return out, nil
}

// ReadMessage appends the payload of the peer's next message to dst and returns
// the result. msg is hostile until this succeeds; it is borrowed for the call and
// must not overlap dst.
//
// A bad second message leaves the handshake as it was, so that nobody can break it
// by answering first; the true answer is still accepted. A bad first or third
// message ends it: the next call fails with [ErrDead]. Errors: [ErrMessage],
// [ErrTurn], [ErrDead].
func (h *Handshake) ReadMessage(dst, msg []byte) ([]byte, error) {
	if err := h.turn(false); err != nil {
		return nil, err
	}
	payload, cs1, cs2, err := h.read(dst, msg)
	if err != nil {
		h.dead = h.messages != 1
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	copy(h.peer[:], h.state.PeerStatic()) // empty until it has been sent
	h.advance(cs1, cs2)
	return payload, nil
}

func (h *Handshake) read(dst, msg []byte) ([]byte, *flynn.CipherState, *flynn.CipherState, error) {
	if len(msg) > MaxMessage {
		return nil, nil, nil, errors.New("message is too long")
	}
	// Messages 1 and 2 start with the peer's ephemeral key. Look at it before the
	// state does: a multiplication that fails half-way is not rolled back.
	if h.messages < 2 {
		if len(msg) < DHLen {
			return nil, nil, nil, flynn.ErrShortMessage
		}
		if _, err := cipher.ParsePubKey(msg[:DHLen]); err != nil {
			return nil, nil, nil, err
		}
	}
	return h.state.ReadMessage(dst, msg)
}

// PeerStatic returns the peer's static key: from the start where the pattern has
// it known, otherwise as soon as the message that carries it has been read. An IK
// responder has it, proven, after message 1 and before it answers; replays of
// message 1 prove it too. Before that it is zero.
func (h *Handshake) PeerStatic() cipher.PubKey { return h.peer }

// Finished reports whether the last message has been written or read.
func (h *Handshake) Finished() bool { return h.messages == h.total }

// Keys returns the transport keys in the standard direction, or [ErrUnfinished].
func (h *Handshake) Keys() (Keys, error) {
	if !h.Finished() {
		return Keys{}, ErrUnfinished
	}
	return h.keys, nil
}

// turn checks that the next message is ours to write, or the peer's.
func (h *Handshake) turn(write bool) error {
	ours := h.init == (h.messages%2 == 0)
	switch {
	case h.dead:
		return ErrDead
	case h.Finished(), ours != write:
		return ErrTurn
	}
	return nil
}

// overhead returns how much longer than its payload the next message is.
func (h *Handshake) overhead() int {
	const tag = 16
	switch {
	case h.pattern == XK && h.messages == 2:
		return DHLen + tag + tag
	case h.pattern == IK && h.messages == 0:
		return DHLen + DHLen + tag + tag
	}
	return DHLen + tag
}

func (h *Handshake) advance(cs1, cs2 *flynn.CipherState) {
	h.messages++
	if !h.Finished() {
		return
	}
	h.keys = Keys{Send: cs1.UnsafeKey(), Recv: cs2.UnsafeKey(), Hash: [32]byte(h.state.ChannelBinding())}
	if !h.init {
		h.keys = h.keys.Swapped()
	}
	h.state = nil // the ephemeral key has done its work
}

// Keys are what a handshake leaves behind.
type Keys struct {
	Send, Recv [32]byte
	Hash       [32]byte // the transcript's hash h, the same on both sides
}

// Swapped returns the keys with the directions exchanged. dmsg wants this after
// XK, where it takes the directions from who wrote last, not from who began.
func (k Keys) Swapped() Keys {
	k.Send, k.Recv = k.Recv, k.Send
	return k
}

// String shows the hash alone, which is no secret.
func (k Keys) String() string { return fmt.Sprintf("keys of %x", k.Hash[:8]) }

// Format prints String for every verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }
