package foreign

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/flynn/noise"
	"github.com/hashicorp/yamux"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Client is an end point with its sessions.
type Client struct {
	SK cipher.SecKey
	PK cipher.PubKey
	// Disc is asked where a key is. Sessions are made by Connect alone.
	Disc *Directory
	// Gap is how long to wait after the last handshake message. The deployed
	// client makes an HTTP call there.
	Gap time.Duration
	// Newer makes requests as the newer software does: two fields more, and a
	// payload of KEMPayload bytes in the first handshake message.
	Newer      bool
	KEMPayload int
	// Refuse answers a request for a port without a listener by a signed refusal,
	// as the newer software may; the deployed one closes.
	Refuse bool

	mu        sync.Mutex
	sessions  map[cipher.PubKey]*Session
	listeners map[uint16]chan *Stream
	port      uint16
}

// NewClient makes a client with a fresh key.
func NewClient(d *Directory) *Client {
	pk, sk := cipher.GenerateKeyPair()
	return &Client{
		SK: sk, PK: pk, Disc: d, Gap: 50 * time.Millisecond,
		sessions: map[cipher.PubKey]*Session{}, listeners: map[uint16]chan *Stream{}, port: 49152,
	}
}

// A Session is the client's side of a session to one relay.
type Session struct {
	Mux        *yamux.Session
	send, recv *half
	c          *Client
	server     cipher.PubKey
	// Ended is closed when the session has ended, with Err as its reason.
	Ended chan struct{}
	Err   error
}

// Connect makes a session to the relay at addr and registers it in the directory.
func (c *Client) Connect(server cipher.PubKey, addr string) (*Session, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	send, recv, err := dialXK(conn, c.SK, server)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	time.Sleep(c.Gap)
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	mux, err := yamux.Client(conn, muxConfig())
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	s := &Session{Mux: mux, send: send, recv: recv, c: c, server: server, Ended: make(chan struct{})}
	c.mu.Lock()
	c.sessions[server] = s
	var servers []cipher.PubKey
	for pk := range c.sessions {
		servers = append(servers, pk)
	}
	c.mu.Unlock()
	go s.serve()
	if c.Disc != nil {
		return s, c.Disc.PutClient(context.Background(), c.SK, servers)
	}
	return s, nil
}

func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	return c
}

// serve shakes hands with incoming streams, one after the other. An error that is
// not of the temporary kind ends the session.
func (s *Session) serve() {
	defer close(s.Ended)
	for {
		ys, err := s.Mux.AcceptStream()
		if err != nil {
			s.Err = err
			return
		}
		if err := s.accept(ys); err != nil {
			_ = ys.Close()
			if !errors.Is(err, errNoListener) && !errors.Is(err, yamux.ErrTimeout) {
				s.Err = err
				_ = s.Mux.Close()
				return
			}
		}
	}
}

var errNoListener = errors.New("foreign: no listener (306)")

func (s *Session) accept(ys *yamux.Stream) error {
	if err := ys.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	obj, err := s.readObject(ys)
	if err != nil {
		return err
	}
	req, err := checkRequest(obj)
	if err != nil {
		return err
	}
	if req.DstAddr.PK != Key(s.c.PK) {
		return errors.New("foreign: 303")
	}
	s.c.mu.Lock()
	queue, ok := s.c.listeners[req.DstAddr.Port]
	s.c.mu.Unlock()
	resp := StreamResponse{ReqHash: sha256.Sum256(obj)}
	if !ok {
		if s.c.Refuse {
			resp.ErrCode = 306
			if err := s.writeObject(ys, &resp); err != nil {
				return err
			}
		}
		return errNoListener
	}
	peer := cipher.PubKey(req.SrcAddr.PK)
	st, err := newState(noise.HandshakeKK, false, s.c.SK, &peer)
	if err != nil {
		return err
	}
	if _, _, _, err := st.ReadMessage(nil, req.NoiseMsg); err != nil {
		return err
	}
	msg, cs1, cs2, err := st.WriteMessage(nil, nil)
	if err != nil {
		return err
	}
	resp.Accepted, resp.NoiseMsg = true, msg
	if err := s.writeObject(ys, &resp); err != nil {
		return err
	}
	if err := ys.SetDeadline(time.Time{}); err != nil {
		return err
	}
	stream := &Stream{Stream: ys, Local: req.DstAddr, Remote: req.SrcAddr, send: &half{cipher: cs2.Cipher()}, recv: &half{cipher: cs1.Cipher()}}
	select {
	case queue <- stream:
	default:
		_ = stream.Close()
	}
	return nil
}

func (s *Session) writeObject(w io.Writer, v any) error {
	obj, err := signObject(v, s.c.SK)
	if err != nil {
		return err
	}
	_, err = w.Write(s.send.seal(obj))
	return err
}

func (s *Session) readObject(r io.Reader) ([]byte, error) {
	body, err := readPrefixed(r)
	if err != nil {
		return nil, err
	}
	return s.recv.open(body, false)
}

// Listen opens a port; streams come out of the channel, which holds 20.
func (c *Client) Listen(port uint16) <-chan *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan *Stream, 20)
	c.listeners[port] = ch
	return ch
}

// Dial asks the directory for pk and tries the first of its relays to which there
// is a session, and no other.
func (c *Client) Dial(pk cipher.PubKey, port uint16) (*Stream, error) {
	servers, err := c.Disc.Delegated(context.Background(), pk)
	if err != nil {
		return nil, err
	}
	for _, server := range servers {
		c.mu.Lock()
		s := c.sessions[server]
		c.mu.Unlock()
		if s != nil {
			return s.Dial(pk, port)
		}
	}
	return nil, errors.New("foreign: 202")
}

// Dial opens a stream through this session's relay. It waits up to 20 s.
func (s *Session) Dial(pk cipher.PubKey, port uint16) (*Stream, error) {
	ys, err := s.Mux.OpenStream()
	if err != nil {
		return nil, err
	}
	stream, err := s.dial(ys, pk, port)
	if err != nil {
		_ = ys.Close()
		return nil, fmt.Errorf("foreign: dial %s:%d: %w", pk, port, err)
	}
	return stream, nil
}

func (s *Session) dial(ys *yamux.Stream, pk cipher.PubKey, port uint16) (*Stream, error) {
	if err := ys.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	s.c.mu.Lock()
	s.c.port++
	src := Addr{PK: Key(s.c.PK), Port: s.c.port}
	s.c.mu.Unlock()
	dst := Addr{PK: Key(pk), Port: port}
	st, err := newState(noise.HandshakeKK, true, s.c.SK, &pk)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, s.c.KEMPayload)
	for i := range payload {
		payload[i] = byte(rand.Uint32())
	}
	msg, _, _, err := st.WriteMessage(nil, payload)
	if err != nil {
		return nil, err
	}
	var v any = &StreamRequest{Timestamp: time.Now().UnixNano(), SrcAddr: src, DstAddr: dst, NoiseMsg: msg}
	if s.c.Newer {
		v = &NewerRequest{Timestamp: time.Now().UnixNano(), SrcAddr: src, DstAddr: dst, IPinfo: true, NoiseMsg: msg}
	}
	req, err := signObject(v, s.c.SK)
	if err != nil {
		return nil, err
	}
	if _, err := ys.Write(s.send.seal(req)); err != nil {
		return nil, err
	}
	obj, err := s.readObject(ys)
	if err != nil {
		return nil, err
	}
	resp, err := checkResponse(obj, req, dst.PK)
	if err != nil {
		return nil, err
	}
	_, cs1, cs2, err := st.ReadMessage(nil, resp.NoiseMsg)
	if err != nil {
		return nil, err
	}
	if err := ys.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &Stream{Stream: ys, Local: src, Remote: dst, send: &half{cipher: cs1.Cipher()}, recv: &half{cipher: cs2.Cipher()}}, nil
}

// Close ends all sessions.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		_ = s.Mux.Close()
	}
}
