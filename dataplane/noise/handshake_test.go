package noise

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// talk runs h's peer and h until step messages have passed, and returns the next
// one with the end that is to read it.
func talk(t testing.TB, p Pattern, step int) (msg []byte, reader *Handshake) {
	t.Helper()
	writer, reader := pair(t, p, nil)
	for i := 0; ; i++ {
		msg, err := writer.WriteMessage(nil, []byte("payload"))
		if err != nil {
			t.Fatal(err)
		}
		if i == step {
			return msg, reader
		}
		if _, err := reader.ReadMessage(nil, msg); err != nil {
			t.Fatal(err)
		}
		writer, reader = reader, writer
	}
}

func steps(p Pattern) int {
	if p == XK {
		return 3
	}
	return 2
}

// Every flipped bit and every truncation of every message is refused; a bad second
// message leaves the way open for the true one.
func TestReadMessageRefusesDamage(t *testing.T) {
	for name, p := range patterns {
		for step := range steps(p) {
			t.Run(fmt.Sprintf("%s %d", name, step+1), func(t *testing.T) {
				msg, _ := talk(t, p, step)
				var damaged [][]byte
				for i := range msg {
					bad := bytes.Clone(msg)
					bad[i] ^= 1 << (i % 8)
					damaged = append(damaged, bad)
				}
				for _, n := range []int{0, 1, 32, 33, 48, 49, len(msg) - 1} {
					damaged = append(damaged, msg[:min(n, len(msg)-1)])
				}
				damaged = append(damaged, append(bytes.Clone(msg), 0), make([]byte, len(msg)), make([]byte, MaxMessage+1))
				for i, bad := range damaged {
					if i%4 != 0 && i < len(msg) {
						continue // a quarter of the positions will do: each costs a handshake
					}
					same, reader := talk(t, p, step)
					if _, err := reader.ReadMessage(nil, bad); !errors.Is(err, ErrMessage) {
						t.Fatalf("damage %d: %v, want %v", i, err, ErrMessage)
					}
					_, err := reader.ReadMessage(nil, same)
					if step == 1 && err != nil {
						t.Fatalf("damage %d: the true message was refused afterwards: %v", i, err)
					}
					if step != 1 && !errors.Is(err, ErrDead) {
						t.Fatalf("damage %d: got %v, want %v", i, err, ErrDead)
					}
				}
			})
		}
	}
}

// A point that no honest peer sends: the multiplication must not be reached, since
// a failure in there is not rolled back.
func TestBadEphemeralDoesNotBreakTheHandshake(t *testing.T) {
	for name, p := range patterns {
		msg, reader := talk(t, p, 1)
		bad := bytes.Clone(msg)
		copy(bad, append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)) // X ≥ p
		_, err := reader.ReadMessage(nil, bad)
		if !errors.Is(err, ErrMessage) || !errors.Is(err, cipher.ErrNotCanonical) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := reader.ReadMessage(nil, msg); err != nil {
			t.Errorf("%s: the true message was refused afterwards: %v", name, err)
		}
	}
}

func TestResponderLearnsInitiator(t *testing.T) {
	want := static(t, 0x11).PubKey()
	for name, p := range patterns {
		msg, b := talk(t, p, 0)
		if p != KK && !b.PeerStatic().IsZero() {
			t.Errorf("%s: key known before any message", name)
		}
		if _, err := b.ReadMessage(nil, msg); err != nil {
			t.Fatal(err)
		}
		if got := b.PeerStatic(); p != XK && got != want {
			t.Errorf("%s: after message 1 the peer is %s, want %s", name, got, want)
		} else if p == XK && !got.IsZero() {
			t.Errorf("XK: after message 1 the peer is %s, want none", got)
		}
	}
}

func TestMismatchesAreRefused(t *testing.T) {
	sa, sb, sc := static(t, 0x11), static(t, 0x22), static(t, 0x55)
	type change func(a, b *Config)
	tests := map[string]change{
		"another prologue":  func(_, b *Config) { b.Prologue = []byte("p") },
		"another responder": func(_, b *Config) { b.Static = sc },
	}
	for pname, p := range patterns {
		for name, change := range tests {
			ca := Config{Pattern: p, Initiator: true, Static: sa, Peer: sb.PubKey()}
			cb := Config{Pattern: p, Static: sb}
			if p == KK {
				cb.Peer = sa.PubKey()
			}
			change(&ca, &cb)
			a, erra := NewHandshake(ca)
			b, errb := NewHandshake(cb)
			if erra != nil || errb != nil {
				t.Fatal(erra, errb)
			}
			msg, err := a.WriteMessage(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.ReadMessage(nil, msg); !errors.Is(err, ErrMessage) {
				t.Errorf("%s, %s: %v, want %v", pname, name, err, ErrMessage)
			}
		}
	}
}

func TestHandshakeTurns(t *testing.T) {
	a, b := pair(t, KK, nil)
	if _, err := a.ReadMessage(nil, make([]byte, 49)); !errors.Is(err, ErrTurn) {
		t.Errorf("initiator reads first: %v", err)
	}
	if _, err := b.WriteMessage(nil, nil); !errors.Is(err, ErrTurn) {
		t.Errorf("responder writes first: %v", err)
	}
	if _, err := a.Keys(); !errors.Is(err, ErrUnfinished) {
		t.Errorf("keys before the end: %v", err)
	}
	if _, err := a.WriteMessage(nil, make([]byte, MaxMessage)); err == nil {
		t.Error("a payload that cannot fit was written")
	}
	m1, err := a.WriteMessage([]byte("prefix"), nil)
	if err != nil || !bytes.HasPrefix(m1, []byte("prefix")) {
		t.Fatalf("WriteMessage does not append: %x, %v", m1, err)
	}
	if _, err := b.ReadMessage(nil, m1[6:]); err != nil {
		t.Fatal(err)
	}
	m2, err := b.WriteMessage(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ReadMessage(nil, m2); err != nil {
		t.Fatal(err)
	}
	if !a.Finished() || !b.Finished() {
		t.Fatal("not finished after two messages")
	}
	if _, err := a.WriteMessage(nil, nil); !errors.Is(err, ErrTurn) {
		t.Errorf("writing after the end: %v", err)
	}
	if _, err := b.ReadMessage(nil, m2); !errors.Is(err, ErrTurn) {
		t.Errorf("reading after the end: %v", err)
	}
	k, _ := a.Keys()
	if s := fmt.Sprintf("%v %x %+v", k, k, struct{ K Keys }{k}); strings.Contains(s, fmt.Sprintf("%x", k.Send[:4])) {
		t.Errorf("printing keys shows them: %s", s)
	}
}

// Payloads as long as can be: the limit is on the whole message.
func TestLongestPayload(t *testing.T) {
	for name, p := range patterns {
		a, b := pair(t, p, nil)
		for range steps(p) {
			n := MaxMessage - a.overhead()
			if _, err := a.WriteMessage(nil, make([]byte, n+1)); err == nil {
				t.Errorf("%s: a payload of %d bytes was written", name, n+1)
			}
			msg, err := a.WriteMessage(nil, make([]byte, n))
			if err != nil || len(msg) != MaxMessage {
				t.Fatalf("%s: %d bytes, %v, want %d", name, len(msg), err, MaxMessage)
			}
			if _, err := b.ReadMessage(nil, msg); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			a, b = b, a
		}
	}
}

func TestNewHandshakeRefusals(t *testing.T) {
	s, peer := static(t, 0x11), static(t, 0x22).PubKey()
	bad := map[string]Config{
		"no pattern":              {Static: s, Peer: peer, Initiator: true},
		"unknown pattern":         {Pattern: XK + 1, Static: s, Peer: peer, Initiator: true},
		"no static key":           {Pattern: IK, Peer: peer, Initiator: true},
		"initiator without peer":  {Pattern: IK, Static: s, Initiator: true},
		"peer off the curve":      {Pattern: KK, Static: s, Peer: cipher.PubKey{0: 2, 32: 5}},
		"KK responder, no peer":   {Pattern: KK, Static: s},
		"IK responder has a peer": {Pattern: IK, Static: s, Peer: peer},
	}
	for name, c := range bad {
		if _, err := NewHandshake(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want %v", name, err, ErrConfig)
		}
	}
	a, err := NewHandshake(Config{Pattern: IK, Static: s, Peer: peer, Initiator: true, Rand: strings.NewReader("short")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteMessage(nil, nil); err == nil {
		t.Error("a handshake without randomness went on")
	}
}

func TestDHRefusesBadInput(t *testing.T) {
	d := Secp256k1{Static: static(t, 0x11)}
	sk, pk := d.Static.SecKey(), static(t, 0x22).PubKey()
	tests := map[string][2][]byte{
		"short secret": {sk[:31], pk[:]},
		"short public": {sk[:], pk[:32]},
		"zero secret":  {make([]byte, 32), pk[:]},
		"zero public":  {sk[:], make([]byte, 33)},
	}
	for name, in := range tests {
		if _, err := d.DH(in[0], in[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	blinded, err1 := d.DH(sk[:], pk[:])
	plain, err2 := Secp256k1{}.DH(sk[:], pk[:])
	if err1 != nil || err2 != nil || !bytes.Equal(blinded, plain) || len(plain) != DHLen || plain[32] != 0 {
		t.Errorf("DH = %x, %v and %x, %v", blinded, err1, plain, err2)
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, p := range []Pattern{IK, KK, XK} {
		for step := range steps(p) {
			msg, _ := talk(f, p, step)
			f.Add(uint8(p), uint8(step), msg)
			f.Add(uint8(p), uint8(step), msg[:len(msg)-1])
		}
	}
	f.Fuzz(func(t *testing.T, p, step uint8, msg []byte) {
		pattern := Pattern(p%3) + IK
		n := int(step) % steps(pattern)
		want, reader := talk(t, pattern, n)
		_, err := reader.ReadMessage(nil, msg)
		if err == nil && !bytes.Equal(msg, want) && n != 0 { // anyone can make a first message
			t.Fatalf("%v: forged message %d was accepted", pattern, n+1)
		}
		if err != nil && !errors.Is(err, ErrMessage) {
			t.Fatalf("%v: message %d: %v", pattern, n+1, err)
		}
		if reader.Finished() != (err == nil && n == steps(pattern)-1) {
			t.Fatalf("%v: message %d: finished = %v, %v", pattern, n+1, reader.Finished(), err)
		}
	})
}

// countingReader counts the 32-byte draws from a random source.
type countingReader struct {
	io.Reader
	draws int
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.draws += n / 32
	return n, err
}

// Every multiplication by a static key must be blinded, and only those. The vectors
// come out the same without blinding, so count what it draws: the ephemeral keys
// have another source here.
func TestStaticMultiplicationsAreBlinded(t *testing.T) {
	counter := &countingReader{Reader: rand.Reader}
	rand.Reader = counter
	defer func() { rand.Reader = counter.Reader }()
	want := map[Pattern]int{
		IK: 4, // es and ss at the responder, ss and se at the initiator
		KK: 4, // the same
		XK: 2, // es at the responder, se at the initiator
	}
	for name, p := range patterns {
		counter.draws = 0
		msg, reader := talk(t, p, steps(p)-1)
		if _, err := reader.ReadMessage(nil, msg); err != nil {
			t.Fatal(err)
		}
		if counter.draws != want[p] {
			t.Errorf("%s: %d blinded multiplications, want %d", name, counter.draws, want[p])
		}
	}
}

// One whole handshake: both ends, and the four fixed key pairs of the tests.
func BenchmarkHandshake(b *testing.B) {
	for name, p := range patterns {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				msg, reader := talk(b, p, steps(p)-1)
				if _, err := reader.ReadMessage(nil, msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
