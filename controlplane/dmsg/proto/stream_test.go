package proto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/skyminer/skywire/dataplane/noise"
)

// kk returns the two directions of a stream from a to b, and back.
func kk(t testing.TB) (as *SendStream, ar *RecvStream, bs *SendStream, br *RecvStream) {
	t.Helper()
	a, b := identity(t, 0x11), identity(t, 0x22)
	in, msg1, err := a.Initiate(b.PubKey())
	if err != nil {
		t.Fatal(err)
	}
	msg2, bs, br, err := b.Respond(a.PubKey(), msg1)
	if err != nil {
		t.Fatal(err)
	}
	if as, ar, err = in.Finish(msg2); err != nil {
		t.Fatal(err)
	}
	return as, ar, bs, br
}

// split cuts bytes into the bodies of frames.
func split(t testing.TB, b []byte) (bodies [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n := 2 + int(binary.BigEndian.Uint16(b))
		if n > MaxFrame || n > len(b) {
			t.Fatalf("frame of %d bytes in %d", n, len(b))
		}
		bodies = append(bodies, b[2:n:n])
		b = b[n:]
	}
	return bodies
}

func TestFrames(t *testing.T) {
	as, ar, bs, br := kk(t)
	data := make([]byte, 70000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for _, n := range []int{0, 1, 4069, 4070, 4071, 8140, 8141, 65536, 70000} {
		for _, dir := range []struct {
			s *SendStream
			r *RecvStream
		}{{as, br}, {bs, ar}} {
			sealed := dir.s.AppendFrames([]byte("front"), data[:n])
			if len(sealed) != 5+FramesLen(n) {
				t.Errorf("%d bytes became %d, want %d", n, len(sealed)-5, FramesLen(n))
			}
			var got []byte
			for _, body := range split(t, sealed[5:]) {
				p, err := dir.r.Open(body)
				if err != nil {
					t.Fatal(err)
				}
				if &p[0] != &body[counterLen] {
					t.Fatal("not opened in place")
				}
				got = append(got, p...)
			}
			if !bytes.Equal(got, data[:n]) {
				t.Errorf("%d bytes came otherwise", n)
			}
		}
	}
}

func TestFramesFit(t *testing.T) {
	for n := range 3*MaxFrame + 100 {
		want := 0
		for FramesLen(want+1) <= n {
			want++
			if want > 2*n+10 {
				break
			}
		}
		if got := FramesFit(n); got != want {
			t.Fatalf("FramesFit(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestFrameRefusals(t *testing.T) {
	as, _, _, br := kk(t)
	first := as.AppendFrames(nil, []byte("first"))[2:]
	second := as.AppendFrames(nil, []byte("second"))[2:]
	third := as.AppendFrames(nil, []byte("third"))[2:]
	open := func(body []byte) (string, error) {
		p, err := br.Open(bytes.Clone(body))
		return string(p), err
	}
	if p, err := open(second); p != "second" || err != nil {
		t.Fatalf("%q, %v: a gap in the numbers is fine", p, err)
	}
	for name, body := range map[string][]byte{"repeated": second, "out of order": first} {
		if _, err := open(body); err != ErrReplayed {
			t.Errorf("%s: %v, want %v itself", name, err, ErrReplayed)
		}
	}
	far := bytes.Clone(third)
	far[0] = 0x7f // a counter near 2^63
	if _, err := open(far); err != noise.ErrAuth {
		t.Errorf("forged: %v, want %v itself", err, noise.ErrAuth)
	}
	for i := range 8 * len(third) {
		bad := bytes.Clone(third)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := open(bad); err == nil {
			t.Fatalf("bit %d flipped and it opened", i)
		}
	}
	for _, n := range []int{0, 7, 8, 23, MaxFrameBody + 1, 65535} {
		if _, err := br.Open(make([]byte, n)); err != ErrLength {
			t.Errorf("%d bytes: %v, want %v itself", n, err, ErrLength)
		}
	}
	// The deployed software is poisoned by what was just forged; we are not.
	if p, err := open(third); p != "third" || err != nil {
		t.Errorf("after forgeries: %q, %v", p, err)
	}
}

func TestEmptyFrameOpens(t *testing.T) {
	as, _, _, br := kk(t)
	as.counter++
	body := binary.BigEndian.AppendUint64(nil, as.counter)
	body = as.key.Seal(body, nil, nil, &as.nonce, 0, as.counter)
	if p, err := br.Open(body); err != nil || len(p) != 0 {
		t.Errorf("%q, %v", p, err)
	}
}

// TestHybridOffer: newer foreign software puts a payload into message 1 and takes
// an answer without one for "classical".
func TestHybridOffer(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	h, err := noise.NewHandshake(noise.Config{Pattern: noise.KK, Initiator: true, Static: a.static, Peer: b.PubKey()})
	if err != nil {
		t.Fatal(err)
	}
	msg1, err := h.WriteMessage(nil, make([]byte, 1184))
	if err != nil {
		t.Fatal(err)
	}
	msg2, send, _, err := b.Respond(a.PubKey(), msg1)
	if err != nil || len(msg2) != 49 {
		t.Fatalf("message 2 of %d bytes, %v", len(msg2), err)
	}
	_, recv, err := (&Initiator{h}).Finish(msg2)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := recv.Open(send.AppendFrames(nil, []byte("x"))[2:]); err != nil || string(p) != "x" {
		t.Errorf("%q, %v", p, err)
	}
}

func TestStreamBadMessages(t *testing.T) {
	a, b, c := identity(t, 0x11), identity(t, 0x22), identity(t, 0x33)
	in, msg1, err := a.Initiate(b.PubKey())
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"meant for another": func() error { _, _, _, err := c.Respond(a.PubKey(), msg1); return err },
		"from another":      func() error { _, _, _, err := b.Respond(c.PubKey(), msg1); return err },
		"short":             func() error { _, _, _, err := b.Respond(a.PubKey(), msg1[:48]); return err },
		"empty":             func() error { _, _, _, err := b.Respond(a.PubKey(), nil); return err },
		"huge":              func() error { _, _, _, err := b.Respond(a.PubKey(), make([]byte, 1<<17)); return err },
		"own message":       func() error { _, _, err := in.Finish(msg1); return err },
		"empty answer":      func() error { _, _, err := in.Finish(nil); return err },
	} {
		if err := f(); !errors.Is(err, noise.ErrMessage) {
			t.Errorf("%s: %v, want %v", name, err, noise.ErrMessage)
		}
	}
}

func TestFramesDoNotAllocate(t *testing.T) {
	as, _, _, br := kk(t)
	data, buf := make([]byte, 10000), make([]byte, 0, 16384)
	if n := testing.AllocsPerRun(5, func() {
		for range 100 {
			buf = as.AppendFrames(buf[:0], data)
			for b := buf; len(b) > 0; {
				n := 2 + int(binary.BigEndian.Uint16(b))
				if _, err := br.Open(b[2:n]); err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per 100 writes, want 0", n)
	}
}
