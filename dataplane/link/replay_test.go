package link

import (
	"net"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A caller is a neighbour played by hand over a socket of its own.
type caller struct {
	t      *testing.T
	static *cipher.StaticKey
	to     *node
	conn   net.Conn
}

func newCaller(t *testing.T, to *node) *caller {
	t.Helper()
	_, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", to.UDPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &caller{t: t, static: static, to: to, conn: conn}
}

// initiation makes an initiation with this timestamp.
func (c *caller) initiation(timestamp uint64) (*initiator, []byte) {
	c.t.Helper()
	i, msg, err := newInitiation(c.static, c.to.pk, SUDPH, 16, offer{timestamp: timestamp, maxPacket: maxUDPPacket})
	if err == nil {
		err = noise.NewCookieJar(c.to.pk).AddMACs(msg, 0)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return i, msg
}

func (c *caller) send(msg []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(msg); err != nil {
		c.t.Fatal(err)
	}
}

// answer waits for the response to i and returns the keys and the peer's index.
func (c *caller) answer(i *initiator) (noise.Keys, uint32) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, err := c.conn.Read(b)
	if err != nil {
		c.t.Fatal(err)
	}
	h, ok := packet.ParseHandshakeHeader(b[:n])
	if !ok || h.Type != packet.FrameResponse {
		c.t.Fatalf("no response but % x", b[:n])
	}
	keys, _, err := i.finish(b[:n])
	if err != nil {
		c.t.Fatal(err)
	}
	return keys, h.Sender
}

// TestReplayDoesNotDisplaceHandshake: while a neighbour that has no live link is
// about to connect, somebody plays back initiations that it sent earlier. Its own
// handshake still comes to its end.
func TestReplayDoesNotDisplaceHandshake(t *testing.T) {
	t.Parallel()
	b := newNode(t, nil)
	c := newCaller(t, b)
	_, old := c.initiation(1)
	i, fresh := c.initiation(2)
	c.send(fresh)
	keys, index := c.answer(i)
	c.send(old)
	c.send(fresh)
	until(t, 5*time.Second, "both replays are judged", func() bool {
		drops := b.Drops()
		return drops[DropTimestamp.String()] == 2
	})

	frame := make([]byte, packet.FrameOverhead+packet.RouteAlign)
	packet.PutDataHeader(frame, index, 0)
	text := frame[packet.FrameHeaderLen : len(frame)-packet.TagLen]
	putControl(text, packet.KindReply, make([]byte, 8))
	var nonce noise.Nonce
	noise.NewSendKey(keys.Send).Seal(text[:0], text, frame[:packet.FrameHeaderLen], &nonce, 0, 0)
	c.send(frame)
	b.expect(t, "up")
}

// TestTCPRekeyBehindNewerTimestamp: a handshake of another link to the same
// neighbour has overtaken the request for new keys, which then bears an older
// timestamp. Nothing can be played back inside a stream, so the keys change.
func TestTCPRekeyBehindNewerTimestamp(t *testing.T) {
	a, b := tcpNode(t, nil), tcpNode(t, nil)
	ab, _ := joinTCP(t, a, b)
	if !b.guard.Track(a.pk, a.cfg.Clock.Next()+uint64(time.Hour)) {
		t.Fatal("not tracked")
	}
	before := ab.send.Load().epoch
	now := a.tick()
	ab.keys.Begin(time.Duration(now))
	c := ab.send.Load().stream.owner
	a.streams.Go(func() { c.askKeys(now) })
	until(t, 10*time.Second, "there are new keys", func() bool {
		st := ab.send.Load()
		return st == nil || st.epoch != before
	})
	send(t, ab, 7, 1, 64)
	b.wait(t, 1)
	a.silent(t)
	b.silent(t)
	if d := b.Drops(); len(d) > 0 {
		t.Errorf("drops: %v", d)
	}
}

// TestTCPAsksNotWhileAnswering: between its answer to the peer's request for new keys
// and the peer's switch to them a side asks for none itself: the peer would forget its
// request, and the answer would end the connection.
func TestTCPAsksNotWhileAnswering(t *testing.T) {
	a, b := tcpNode(t, nil), tcpNode(t, nil)
	_, ba := joinTCP(t, a, b)
	c := ba.send.Load().stream.owner
	ba.mu.Lock()
	c.next = ba.send.Load().epoch // the peer has not switched yet
	ba.mu.Unlock()
	now := b.tick()
	ba.keys.Begin(time.Duration(now))
	c.askKeys(now)
	ba.mu.Lock()
	asked := c.ours != nil
	c.next = nil
	ba.mu.Unlock()
	if _, busy := ba.keys.Attempt(); asked || busy {
		t.Errorf("asked %v, attempt under way %v, want neither", asked, busy)
	}
}
