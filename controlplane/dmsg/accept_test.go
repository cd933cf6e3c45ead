package dmsg

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A bareRelay is the relay's end of one session, in the hands of a test.
type bareRelay struct {
	mux *yamux.Session
	hop *proto.Session
}

// startBare connects a client to a relay that the test plays itself.
func startBare(t testing.TB) (*testClient, *bareRelay) {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	id, err := proto.NewIdentity(sk)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	r := &bareRelay{}
	up := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			r.hop, err = id.AcceptSession(context.Background(), conn)
		}
		if err == nil {
			r.mux, err = yamux.New(conn, yamux.Config{})
		}
		up <- err
	}()
	entry := disc.NewServer(pk, ln.Addr().String(), 1, time.Now())
	c := startClient(t, disc.NewStatic(entry))
	if err := <-up; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.mux.Close() })
	return c, r
}

// send opens a stream and writes raw.
func (r *bareRelay) send(t testing.TB, raw []byte) *yamux.Stream {
	t.Helper()
	st, err := r.mux.Open(testCtx(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(raw); err != nil {
		t.Fatal(err)
	}
	st.SetReadDeadline(time.Now().Add(10 * time.Second))
	return st
}

// object seals signed for the client.
func (r *bareRelay) object(t testing.TB, signed []byte) []byte {
	t.Helper()
	b, err := r.hop.Seal(nil, signed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever comes as a request, it costs that stream and nothing else: the software of
// 2024 gives up the whole session.
func TestBadRequests(t *testing.T) {
	c, r := startBare(t)
	l, err := c.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	src, sk := cipher.GenerateKeyPair()
	id, err := proto.NewIdentity(sk)
	if err != nil {
		t.Fatal(err)
	}
	request := func(change func(*proto.Request)) proto.Signed {
		_, msg1, err := id.Initiate(c.PubKey())
		if err != nil {
			t.Fatal(err)
		}
		req := &proto.Request{
			Timestamp: time.Now().UnixNano(), Src: proto.Addr{PK: src, Port: 49153},
			Dst: proto.Addr{PK: c.PubKey(), Port: 80}, NoiseMsg: msg1,
		}
		change(req)
		signed, err := id.SignRequest(req)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := request(func(*proto.Request) {})
	forged := append(proto.Signed(nil), good...)
	forged[10] ^= 1
	other, _ := cipher.GenerateKeyPair()
	tests := []struct {
		name string
		raw  func() []byte
	}{
		{"garbage", func() []byte {
			return []byte{0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40}
		}},
		{"too short", func() []byte { return []byte{0, 1, 1} }},
		{"not sealed for us", func() []byte { b := r.object(t, good); b[20] ^= 1; return b }},
		{"not signed", func() []byte { return r.object(t, forged) }},
		{"not a request", func() []byte { return r.object(t, make([]byte, 500)) }},
		{"for another", func() []byte { return r.object(t, request(func(q *proto.Request) { q.Dst.PK = other })) }},
		{"from another", func() []byte { return r.object(t, request(func(q *proto.Request) { q.Src.PK = other })) }},
		{"no noise", func() []byte { return r.object(t, request(func(q *proto.Request) { q.NoiseMsg = nil })) }},
		{"bad point", func() []byte {
			return r.object(t, request(func(q *proto.Request) { q.NoiseMsg[0] = 7 }))
		}},
		{"point beyond the field", func() []byte {
			return r.object(t, request(func(q *proto.Request) {
				for i := range 32 {
					q.NoiseMsg[1+i] = 0xff
				}
			}))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := c.FailedStreams()
			st := r.send(t, tt.raw())
			if n, err := io.Copy(io.Discard, st); n != 0 || !errors.Is(err, yamux.ErrReset) {
				t.Errorf("%d bytes came back, %v, want a reset", n, err)
			}
			if n := c.FailedStreams() - before; n != 1 {
				t.Errorf("%d failures counted", n)
			}
			if len(c.guests.n) != 0 || len(l.slots) != 0 {
				t.Errorf("%d guests, %d places left behind", len(c.guests.n), len(l.slots))
			}
		})
	}
	t.Run("replay", func(t *testing.T) {
		st := r.send(t, r.object(t, good))
		if _, err := proto.ReadObject(st, nil); err != nil {
			t.Fatalf("the first is not answered: %v", err)
		}
		far, err := l.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		again := r.send(t, r.object(t, good))
		if _, err := io.Copy(io.Discard, again); !errors.Is(err, yamux.ErrReset) {
			t.Errorf("the second: %v", err)
		}
	})
	t.Run("ping of newer software", func(t *testing.T) {
		st := r.send(t, []byte{0, 0})
		if got, err := io.ReadAll(st); string(got) != "\x00\x00" || err != nil {
			t.Errorf("came back as %x, %v", got, err)
		}
	})
	t.Run("too many from one key", func(t *testing.T) {
		c.guests.mu.Lock()
		c.guests.n[src] = maxPerKey
		c.guests.mu.Unlock()
		q := request(func(*proto.Request) {})
		st := r.send(t, r.object(t, q))
		body, err := proto.ReadObject(st, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := r.hop.Open(body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := proto.Signed(signed).Response(q.Hash(), c.PubKey())
		if err != nil || !errors.Is(resp.Err(), proto.ErrCapacity) {
			t.Errorf("answer %v, %v", resp, err)
		}
	})
	if len(c.Sessions()) != 1 || r.mux.Err() != nil {
		t.Errorf("the session ended: %v", r.mux.Err())
	}
}

// Requests that never come, as many as the multiplexer lets through, must not keep a
// good one out for longer than the set-up of the others takes.
func TestHalfOpenIsBounded(t *testing.T) {
	c, r := startBare(t)
	for range maxHalfOpen + 50 {
		if _, err := r.mux.Open(testCtx(t)); err != nil {
			break // the multiplexer's own bound
		}
	}
	c.Client.mu.Lock()
	var s *session
	for _, s = range c.sessions {
	}
	c.Client.mu.Unlock()
	waitFor(t, "all places taken", func() bool { return len(s.halfOpen) == maxHalfOpen })
	for range 3 {
		if n := len(s.halfOpen); n > maxHalfOpen {
			t.Errorf("%d half-open streams", n)
		}
	}
}
