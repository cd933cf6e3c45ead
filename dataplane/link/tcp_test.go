package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// tcpNode is an engine with STCPR alone.
func tcpNode(t testing.TB, adjust func(*Config)) *node {
	t.Helper()
	return newNode(t, func(c *Config) {
		tcpOnly(c)
		if adjust != nil {
			adjust(c)
		}
	})
}

func tcpOnly(c *Config) {
	c.UDP = netip.AddrPort{}
	c.TCP = netip.MustParseAddrPort("127.0.0.1:0")
}

// joinTCP links a to b over TCP and waits until both are up.
func joinTCP(t *testing.T, a, b *node) (ab, ba *Link) {
	t.Helper()
	l := addTCP(t, a, b.pk, b.TCPAddr())
	if err := l.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.expect(t, "up")
	b.expect(t, "up")
	return l, b.Links()[0]
}

// silent reports that no event comes while nothing is under way.
func (s *sink) silent(t *testing.T) {
	t.Helper()
	select {
	case e := <-s.events:
		t.Errorf("event %q, want none", e)
	default:
	}
}

func TestTCPLinkCarriesPackets(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			a := tcpNode(t, nil)
			b := tcpNode(t, func(c *Config) { c.TCP = netip.MustParseAddrPort(addr) })
			ab, ba := joinTCP(t, a, b)
			if ab.Peer() != b.pk || ba.Peer() != a.pk || ab.DirectLabel() != ba.DirectIn() || ba.DirectLabel() != ab.DirectIn() {
				t.Fatal("keys or direct labels do not match")
			}
			if ab.MTU() != packet.MaxRoutePacket || ba.MTU() != packet.MaxRoutePacket {
				t.Errorf("MTU is %d and %d, want %d", ab.MTU(), ba.MTU(), packet.MaxRoutePacket)
			}
			sum := 0
			for _, size := range []int{16, 1408, 32800, packet.MaxRoutePacket} {
				send(t, ab, 7, 20, size)
				sum += 20
				for i, p := range b.wait(t, sum)[sum-20:] {
					if len(p) != size || int(p[8])<<8|int(p[9]) != i && size > 16 {
						t.Fatalf("size %d: packet %d has %d bytes", size, i, len(p))
					}
				}
			}
			send(t, ba, 7, 10, 64)
			a.wait(t, 10)
			for _, n := range []*node{a, b} {
				if d := n.Drops(); len(d) > 0 {
					t.Errorf("drops: %v", d)
				}
			}
			a.stop()
			b.expect(t, "down")
			b.expect(t, "detach")
		})
	}
}

// TestTCPRekey changes keys many times under load. Nothing is lost, and the keys do
// change.
func TestTCPRekey(t *testing.T) {
	limits := noise.DefaultLimits()
	limits.RekeyAfter, limits.TakeoverAfter, limits.RejectAfter = 100*time.Millisecond, 400*time.Millisecond, 10*time.Second
	limits.ConfirmWithin = time.Second
	adjust := func(c *Config) { c.Limits = limits }
	a, b := tcpNode(t, adjust), tcpNode(t, adjust)
	ab, ba := joinTCP(t, a, b)
	keys := map[*noise.SendKey]bool{}
	sent := 0
	for deadline := time.Now().Add(20 * time.Second); len(keys) < 10; {
		if time.Now().After(deadline) {
			t.Fatalf("%d keys in 20 s, want 10", len(keys))
		}
		keys[ab.send.Load().epoch.Send] = true
		send(t, ab, 7, 10, 1408)
		send(t, ba, 7, 10, 1408)
		sent += 10
		a.wait(t, sent)
		b.wait(t, sent)
	}
	a.silent(t)
	b.silent(t)
	for _, n := range []*node{a, b} {
		if d := n.Drops(); len(d) > 0 {
			t.Errorf("drops: %v", d)
		}
	}
}

// TestTCPBothAskForKeys: both sides ask at the same moment; one handshake goes on.
func TestTCPBothAskForKeys(t *testing.T) {
	a, b := tcpNode(t, nil), tcpNode(t, nil)
	ab, ba := joinTCP(t, a, b)
	before := [...]*epoch{ab.send.Load().epoch, ba.send.Load().epoch}
	for _, l := range []*Link{ab, ba} {
		now := l.e.tick()
		l.keys.Begin(time.Duration(now))
		c := l.send.Load().stream.owner
		l.e.streams.Go(func() { c.askKeys(now) })
	}
	sent := 0
	for deadline := time.Now().Add(10 * time.Second); ab.send.Load().epoch == before[0] || ba.send.Load().epoch == before[1]; {
		if time.Now().After(deadline) {
			t.Fatal("no new keys")
		}
		send(t, ab, 7, 1, 64)
		send(t, ba, 7, 1, 64)
		sent++
		a.wait(t, sent)
		b.wait(t, sent)
	}
	a.silent(t)
	b.silent(t)
}

// TestTCPLostRequest: after a request for new keys that was never answered nobody asked
// again, and the peer's own requests lost the tie against it: the link died with its
// keys.
func TestTCPLostRequest(t *testing.T) {
	limits := noise.DefaultLimits()
	limits.RekeyAfter, limits.TakeoverAfter, limits.RejectAfter = time.Second, 2*time.Second, 4*time.Second
	limits.ConfirmWithin = time.Second
	adjust := func(c *Config) { c.Limits = limits }
	a, b := tcpNode(t, adjust), tcpNode(t, adjust)
	if noise.WinsTie(b.pk, a.pk) {
		a, b = b, a
	}
	ab, _ := joinTCP(t, a, b)
	first := ab.send.Load().epoch
	ab.keys.Begin(time.Duration(a.Now())) // and the request is lost
	until(t, 30*time.Second, "new keys, or the end of the link", func() bool {
		st := ab.send.Load()
		return st == nil || st.epoch != first
	})
	if !ab.Up() {
		t.Fatalf("the link went down: %s", ab.Info().LastError)
	}
	a.silent(t)
	b.silent(t)
}

// TestTCPBothDial: both connect to each other at the same time, and one link is left.
func TestTCPBothDial(t *testing.T) {
	a, b := tcpNode(t, nil), tcpNode(t, nil)
	ab := addTCP(t, a, b.pk, b.TCPAddr())
	ba := addTCP(t, b, a.pk, a.TCPAddr())
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for _, l := range []*Link{ab, ba} {
		if err := l.WaitUp(ctx); err != nil {
			t.Fatal(err)
		}
	}
	send(t, ab, 7, 5, 64)
	b.wait(t, 5)
	send(t, ba, 7, 5, 64)
	a.wait(t, 5)
}

func TestTCPWrongKey(t *testing.T) {
	a, b := tcpNode(t, nil), tcpNode(t, nil)
	other, _ := cipher.GenerateKeyPair()
	l := addTCP(t, a, other, b.TCPAddr())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := l.WaitUp(ctx); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("WaitUp: %v, want ErrNoAnswer", err)
	}
	if b.Drops()["bad_mac1"] == 0 {
		t.Errorf("the far side counted %v, want bad_mac1", b.Drops())
	}
}

// TestTCPRefused: nobody listens, and that is said at once.
func TestTCPRefused(t *testing.T) {
	a, b := tcpNode(t, nil), tcpNode(t, nil)
	addr := b.TCPAddr()
	b.stop()
	l := addTCP(t, a, b.pk, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var op *net.OpError
	if err := l.WaitUp(ctx); !errors.As(err, &op) {
		t.Errorf("WaitUp: %v, want the refusal", err)
	}
}

func TestTCPPolicy(t *testing.T) {
	b := tcpNode(t, func(c *Config) { c.Policy = Policy{} })
	a := tcpNode(t, nil)
	l := addTCP(t, a, b.pk, b.TCPAddr())
	if err := l.WaitUp(t.Context()); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("WaitUp: %v, want ErrNoAnswer", err)
	}
	if b.Drops()["policy"] == 0 || len(b.Links()) != 0 {
		t.Errorf("drops %v, %d links", b.Drops(), len(b.Links()))
	}
}

// TestTCPNewestWins: a neighbour that lost its state connects again while its old
// connection is still open here; that one goes, the link stays.
func TestTCPNewestWins(t *testing.T) {
	_, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	adjust := func(c *Config) { c.Static = static }
	a, b := tcpNode(t, adjust), tcpNode(t, nil)
	_, ba := joinTCP(t, a, b)
	old := ba.send.Load().stream
	again := tcpNode(t, adjust)
	l := addTCP(t, again, b.pk, b.TCPAddr())
	if err := l.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.expect(t, "down") // it has been told
	for deadline := time.Now().Add(30 * time.Second); old.cause() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the old connection is still open")
		}
	}
	if ba.send.Load().stream == old {
		t.Error("the old connection is still in use")
	}
	send(t, l, 7, 5, 64)
	b.wait(t, 5)
	send(t, ba, 7, 5, 64)
	again.wait(t, 5)
	b.silent(t)
}

// TestTCPReplay plays a whole recorded connection back: the handshake is answered,
// for it cannot be told from a new one while the neighbour has no link, but nothing
// comes up and nothing is delivered.
func TestTCPReplay(t *testing.T) {
	b := tcpNode(t, nil)
	a := tcpNode(t, nil)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	recorded := make(chan []byte, 1)
	go func() { // between a and b, for one connection
		ca, err := front.Accept()
		if err != nil {
			return
		}
		cb, err := net.Dial("tcp", b.TCPAddr().String())
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(ca, cb); _ = ca.Close() }()
		var rec bytes.Buffer
		_, _ = io.Copy(io.MultiWriter(cb, &rec), ca)
		_ = cb.Close()
		recorded <- rec.Bytes()
	}()
	l := addTCP(t, a, b.pk, front.Addr().(*net.TCPAddr).AddrPort())
	if err := l.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect(t, "up")
	send(t, l, 7, 5, 64)
	b.wait(t, 5)
	a.stop()
	b.expect(t, "down")
	b.expect(t, "detach")

	conn, err := net.Dial("tcp", b.TCPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(<-recorded); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn) // until b closes it
	for deadline := time.Now().Add(30 * time.Second); b.Drops()["bad_record"] == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("drops %v, want bad_record", b.Drops())
		}
	}
	if got := b.wait(t, 5); len(got) != 5 {
		t.Errorf("%d packets, want 5", len(got))
	}
	for _, l := range b.Links() {
		if l.Up() {
			t.Error("a replay made a link")
		}
	}
}

// TestTCPHandshakeGarbage sends what is no handshake; each connection is closed.
func TestTCPHandshakeGarbage(t *testing.T) {
	b := tcpNode(t, nil)
	init := packet.HandshakeHeader{Type: packet.FrameInitiation}.Append(nil)
	tests := map[string][]byte{
		"length above the largest": {0, 0, 8, 1},
		"enormous length":          {0xff, 0xff, 0xff, 0xff},
		"empty":                    {0, 0, 0, 0},
		"HTTP":                     []byte("GET / HTTP/1.1\r\n\r\n"),
		"another type":             binary.BigEndian.AppendUint32(nil, 0),
		"bad mac1":                 append([]byte{0, 0, 0, 200}, append(init, make([]byte, 188)...)...),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", b.TCPAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(data); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(4 * time.Second))
			n, err := io.Copy(io.Discard, conn)
			var timeout net.Error
			if n != 0 || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%d bytes came back, %v; want the connection closed", n, err)
			}
		})
	}
}

// FuzzReadBody: whatever comes, at most MaxHandshakeFrame bytes are kept.
func FuzzReadBody(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 1, 2})
	f.Add([]byte{0, 0, 8, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := readBody(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeBody(&again, body); err != nil || len(body) > packet.MaxHandshakeFrame || !bytes.HasPrefix(data, again.Bytes()) {
			t.Fatalf("body of %d bytes, %v", len(body), err)
		}
	})
}

func addTCP(t *testing.T, a *node, pk cipher.PubKey, addr netip.AddrPort) *Link {
	t.Helper()
	l, err := a.AddLink(pk, STCPR, addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
