package foreign

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/flynn/noise"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// secp256k1 is the DH function of dmsg: SHA-256 of the compressed shared point and
// a zero byte.
type secp256k1 struct{}

func (secp256k1) GenerateKeypair(io.Reader) (noise.DHKey, error) {
	pk, sk := cipher.GenerateKeyPair()
	return noise.DHKey{Private: sk[:], Public: pk[:]}, nil
}

func (secp256k1) DH(private, public []byte) ([]byte, error) {
	shared, err := cipher.ECDH(cipher.SecKey(private), cipher.PubKey(public))
	return append(shared[:], 0), err
}

func (secp256k1) DHLen() int     { return cipher.PubKeyLen }
func (secp256k1) DHName() string { return "Secp256k1" }

var suite = noise.NewCipherSuite(secp256k1{}, noise.CipherChaChaPoly, noise.HashSHA256)

func newState(pattern noise.HandshakePattern, initiator bool, sk cipher.SecKey, peer *cipher.PubKey) (*noise.HandshakeState, error) {
	pk, err := sk.PubKey()
	if err != nil {
		return nil, err
	}
	c := noise.Config{
		CipherSuite: suite, Random: rand.Reader, Pattern: pattern, Initiator: initiator,
		StaticKeypair: noise.DHKey{Private: sk[:], Public: pk[:]},
	}
	if peer != nil {
		c.PeerStatic = peer[:]
	}
	return noise.NewHandshakeState(c)
}

// A half is one direction of a channel: a key and its counter.
type half struct {
	mu      sync.Mutex
	cipher  noise.Cipher
	counter uint64
}

// seal returns u16 length | counter | sealed text.
func (h *half) seal(plain []byte) []byte {
	h.mu.Lock()
	h.counter++
	n := h.counter
	h.mu.Unlock()
	out := make([]byte, 10, 10+len(plain)+16)
	binary.BigEndian.PutUint16(out, uint16(8+len(plain)+16))
	binary.BigEndian.PutUint64(out[2:], n)
	return h.cipher.Encrypt(out, n, nil, plain)
}

// open opens counter | sealed text. With rising counters they must rise.
func (h *half) open(body []byte, rising bool) ([]byte, error) {
	if len(body) < 24 {
		return nil, fmt.Errorf("foreign: frame of %d bytes", len(body))
	}
	n := binary.BigEndian.Uint64(body)
	if rising {
		if n <= h.counter {
			return nil, fmt.Errorf("foreign: counter %d after %d", n, h.counter)
		}
		h.counter = n
	}
	return h.cipher.Decrypt(nil, n, nil, body[8:])
}

func readPrefixed(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, body)
	return body, err
}

func writePrefixed(w io.Writer, body []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...))
	return err
}

// errSurplus is what the deployed software says with code 203.
var errSurplus = errors.New("foreign: bytes after the session handshake")

// dialXK is the client's side of a session handshake. Whoever writes the last
// message sends with the second key.
func dialXK(rw io.ReadWriter, sk cipher.SecKey, server cipher.PubKey) (send, recv *half, err error) {
	st, err := newState(noise.HandshakeXK, true, sk, &server)
	if err != nil {
		return nil, nil, err
	}
	msg, _, _, err := st.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := writePrefixed(rw, msg); err != nil {
		return nil, nil, err
	}
	if msg, err = readPrefixed(rw); err != nil {
		return nil, nil, err
	}
	if _, _, _, err := st.ReadMessage(nil, msg); err != nil {
		return nil, nil, err
	}
	msg, cs1, cs2, err := st.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	return &half{cipher: cs2.Cipher()}, &half{cipher: cs1.Cipher()}, writePrefixed(rw, msg)
}

// greedy hands out what one read of at most 4096 bytes brought, as a buffered
// reader does: what lies behind the last message counts as surplus.
type greedy struct {
	r   io.Reader
	buf bytes.Buffer
}

func (g *greedy) Read(p []byte) (int, error) {
	if g.buf.Len() == 0 {
		b := make([]byte, 4096)
		n, err := g.r.Read(b)
		if n == 0 {
			return 0, err
		}
		g.buf.Write(b[:n])
	}
	return g.buf.Read(p)
}

// acceptXK is the relay's side.
func acceptXK(rw io.ReadWriter, sk cipher.SecKey) (client cipher.PubKey, send, recv *half, err error) {
	st, err := newState(noise.HandshakeXK, false, sk, nil)
	if err != nil {
		return client, nil, nil, err
	}
	in := &greedy{r: rw}
	msg, err := readPrefixed(in)
	if err != nil {
		return client, nil, nil, err
	}
	if _, _, _, err := st.ReadMessage(nil, msg); err != nil {
		return client, nil, nil, err
	}
	if msg, _, _, err = st.WriteMessage(nil, nil); err != nil {
		return client, nil, nil, err
	}
	if err := writePrefixed(rw, msg); err != nil {
		return client, nil, nil, err
	}
	if msg, err = readPrefixed(in); err != nil {
		return client, nil, nil, err
	}
	_, cs1, cs2, err := st.ReadMessage(nil, msg)
	if err != nil {
		return client, nil, nil, err
	}
	if in.buf.Len() > 0 {
		return client, nil, nil, errSurplus
	}
	client, err = cipher.ParsePubKey(st.PeerStatic())
	return client, &half{cipher: cs1.Cipher()}, &half{cipher: cs2.Cipher()}, err
}
