package dmsg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
)

// yamuxPair makes two ends of a multiplexed stream, without a relay between them.
func yamuxPair(t testing.TB) (dialled, accepted *yamux.Stream) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client, err := yamux.New(near, yamux.Config{Client: true, MaxWindow: yamux.InitialWindow})
	if err != nil {
		t.Fatal(err)
	}
	server, err := yamux.New(far, yamux.Config{MaxWindow: yamux.InitialWindow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	if dialled, err = client.Open(testCtx(t)); err != nil {
		t.Fatal(err)
	}
	if accepted, err = server.Accept(testCtx(t)); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

// newEnd makes a stream over mux that belongs to no session worth the name.
func newEnd(t testing.TB, mux *yamux.Stream, send *proto.SendStream, recv *proto.RecvStream) *Stream {
	t.Helper()
	cfg := DefaultConfig()
	_, cfg.SecKey = cipher.GenerateKeyPair()
	cfg.Servers = []*disc.Entry{server(1, "")}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	sess := &session{c: c, streams: map[*Stream]struct{}{}}
	return &Stream{mux: mux, sess: sess, release: func() {}, r: reader{recv: recv}, w: writer{send: send}}
}

// streamPair makes both ends of a stream; b is the accepting one.
func streamPair(t testing.TB) (a, b *Stream) {
	t.Helper()
	ids, pks := [2]*proto.Identity{}, [2]cipher.PubKey{}
	for i := range ids {
		pk, sk := cipher.GenerateKeyPair()
		id, err := proto.NewIdentity(sk)
		if err != nil {
			t.Fatal(err)
		}
		ids[i], pks[i] = id, pk
	}
	in, msg1, err := ids[0].Initiate(pks[1])
	if err != nil {
		t.Fatal(err)
	}
	msg2, bSend, bRecv, err := ids[1].Respond(pks[0], msg1)
	if err != nil {
		t.Fatal(err)
	}
	aSend, aRecv, err := in.Finish(msg2)
	if err != nil {
		t.Fatal(err)
	}
	aMux, bMux := yamuxPair(t)
	a, b = newEnd(t, aMux, aSend, aRecv), newEnd(t, bMux, bSend, bRecv)
	b.accepted = true
	return a, b
}

// A rawEnd is the dialling end of a stream in the hands of a test, which makes the
// frames itself.
type rawEnd struct {
	*yamux.Stream
	key     *noise.SendKey
	nonce   noise.Nonce
	counter uint64
}

// frame seals p, which may be empty, as the next frame.
func (e *rawEnd) frame(p string) []byte {
	e.counter++
	b := binary.BigEndian.AppendUint16(nil, uint16(proto.MinFrameBody+len(p)))
	b = binary.BigEndian.AppendUint64(b, e.counter)
	return e.key.Seal(b, []byte(p), nil, &e.nonce, 0, e.counter)
}

// rawPair is streamPair with a rawEnd.
func rawPair(t testing.TB) (*rawEnd, *Stream) {
	t.Helper()
	aPK, aSK := cipher.GenerateKeyPair()
	bPK, bSK := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(aSK)
	if err != nil {
		t.Fatal(err)
	}
	id, err := proto.NewIdentity(bSK)
	if err != nil {
		t.Fatal(err)
	}
	h, err := noise.NewHandshake(noise.Config{Pattern: noise.KK, Initiator: true, Static: static, Peer: bPK})
	if err != nil {
		t.Fatal(err)
	}
	msg1, err := h.WriteMessage(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	msg2, send, recv, err := id.Respond(aPK, msg1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReadMessage(nil, msg2); err != nil {
		t.Fatal(err)
	}
	keys, err := h.Keys()
	if err != nil {
		t.Fatal(err)
	}
	aMux, bMux := yamuxPair(t)
	b := newEnd(t, bMux, send, recv)
	b.accepted = true
	return &rawEnd{Stream: aMux, key: noise.NewSendKey(keys.Send)}, b
}

func TestStreamFrames(t *testing.T) {
	a, b := rawPair(t)
	long := strings.Repeat("x", proto.MaxFramePlain)
	ping := []byte{0, 0}
	raw := slices.Concat(a.frame("one "), ping, a.frame(""), a.frame("two "), a.frame(long), a.frame("three"))
	for _, c := range raw { // byte by byte: boundaries of the multiplexer mean nothing
		if _, err := a.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	a.CloseWrite()
	got, err := io.ReadAll(b)
	if want := "one two " + long + "three"; string(got) != want || err != nil {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
	echo := make([]byte, 2)
	if _, err := io.ReadFull(a, echo); err != nil || !bytes.Equal(echo, ping) {
		t.Errorf("ping came back as %x, %v", echo, err)
	}
}

// The dialling end does not answer pings, or two of ours would go on for ever.
func TestDiallerLeavesPings(t *testing.T) {
	a, b := rawPair(t)
	b.accepted = false
	a.Write(slices.Concat([]byte{0, 0}, a.frame("x")))
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	b.sess.c.Close() // waits for an answer on its way
	b.CloseWrite()
	if got, err := io.ReadAll(a); len(got) != 0 || err != nil {
		t.Errorf("the dialling end wrote %x, %v", got, err)
	}
}

func TestStreamEnds(t *testing.T) {
	tests := []struct {
		name string
		tail func(*rawEnd) []byte // behind a good frame
		want error
	}{
		{"clean", func(*rawEnd) []byte { return nil }, io.EOF},
		{"inside a length", func(*rawEnd) []byte { return []byte{1} }, io.ErrUnexpectedEOF},
		{"behind a length", func(*rawEnd) []byte { return []byte{0, 100} }, io.ErrUnexpectedEOF},
		{"inside a frame", func(a *rawEnd) []byte { return a.frame("abc")[:20] }, io.ErrUnexpectedEOF},
		{"frame too short", func(*rawEnd) []byte { return append([]byte{0, proto.MinFrameBody - 1}, make([]byte, 30)...) }, proto.ErrLength},
		{"frame too long", func(*rawEnd) []byte { return binary.BigEndian.AppendUint16(nil, proto.MaxFrameBody+1) }, proto.ErrLength},
		{"forged", func(a *rawEnd) []byte {
			f := a.frame("abc")
			f[len(f)-1] ^= 1
			return f
		}, noise.ErrAuth},
		{"repeated", func(a *rawEnd) []byte {
			f := a.frame("one")
			return slices.Concat(f, f)
		}, proto.ErrReplayed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := rawPair(t)
			a.Write(slices.Concat(a.frame("one"), tt.tail(a)))
			a.CloseWrite()
			got := make([]byte, 100)
			n, err := io.ReadFull(b, got[:3])
			if string(got[:n]) != "one" || err != nil {
				t.Fatalf("read %q, %v", got[:n], err)
			}
			for range 2 { // what came before the fault, then the fault, which stays
				for err = nil; err == nil; {
					_, err = b.Read(got)
				}
				if !errors.Is(err, tt.want) {
					t.Errorf("Read: %v, want %v", err, tt.want)
				}
			}
		})
	}
}

func TestStreamDeadlines(t *testing.T) {
	a, b := streamPair(t)
	b.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	var timeout net.Error
	if _, err := b.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Read: %v is no time-out", err)
	}
	b.SetReadDeadline(time.Time{})

	// More than the window holds: the write stops in the middle, and goes on later. The
	// last bit of credit is smaller than a frame.
	data := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	a.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := a.Write(data)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n >= len(data) {
		t.Fatalf("Write: %d, %v", n, err)
	}
	a.SetWriteDeadline(time.Time{})
	go func() {
		if m, err := a.Write(data[n:]); m != len(data)-n || err != nil {
			t.Errorf("Write: %d, %v", m, err)
		}
		a.CloseWrite()
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(data))
	}
}

// Credit of a few bytes must neither be waited out nor spun upon.
func TestStreamPartialFrames(t *testing.T) {
	a, b := streamPair(t)
	const pad = 10 // what is left of the window when frames begin
	if _, err := a.mux.Write(make([]byte, yamux.InitialWindow-pad)); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := a.Write([]byte("hello"))
		wrote <- err
	}()
	waitFor(t, "a part of the frame arrives", func() bool { return b.mux.Buffered() == yamux.InitialWindow })
	if _, err := io.CopyN(io.Discard, b.mux, yamux.InitialWindow-pad); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(b, got); string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestStreamAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	a, b := streamPair(t)
	out, in := make([]byte, 32<<10), make([]byte, 32<<10)
	once := func() {
		if _, err := a.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, in); err != nil {
			t.Fatal(err)
		}
	}
	once()
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			once()
		}
	}); n > 10 { // the multiplexer's reader and window updates run beside
		t.Errorf("%v allocations per 100 writes and reads of 32 KiB", n)
	}
}
