package link

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// forged returns initiations to n from many keys, with a right mac1 and no cookie.
func forged(t testing.TB, n *node, count int) [][]byte {
	t.Helper()
	var out [][]byte
	for range count {
		_, sk := cipher.GenerateKeyPair()
		static, err := cipher.NewStaticKey(sk)
		if err != nil {
			t.Fatal(err)
		}
		_, msg, err := newInitiation(static, n.pk, SUDPH, 1<<30, offer{timestamp: 1, maxPacket: packet.MinMTU})
		if err != nil {
			t.Fatal(err)
		}
		if err := noise.NewCookieJar(n.pk).AddMACs(msg, 0); err != nil {
			t.Fatal(err)
		}
		out = append(out, msg)
	}
	return out
}

// flood sends msgs to addr from many ports, about 25,000 a second, until ctx ends:
// more than there are cookies, and few enough for one core to receive.
func flood(ctx context.Context, t testing.TB, to netip.AddrPort, msgs [][]byte) (done chan int) {
	t.Helper()
	var conns []*net.UDPConn
	for range 64 {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
	}
	done = make(chan int, 1)
	go func() {
		sent := 0
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for range 25 {
				_, _ = conns[sent%len(conns)].WriteToUDPAddrPort(msgs[sent%len(msgs)], to)
				sent++
			}
			<-tick.C
		}
		done <- sent
	}()
	return done
}

// TestFlood aims initiations with a right mac1 at a visor: its transfer goes on, its
// memory stays bounded, and a neighbour that shows a cookie gets in.
func TestFlood(t *testing.T) {
	cb := newAuditor()
	an, bn := newNode(t, nil), startNode(t, cb, cb.sink, nil)
	ab, err := an.AddLink(bn.pk, SUDPH, bn.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	if err := ab.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	msgs := forged(t, bn, 200)
	load(t, ab, 0, 10, 512, time.Millisecond)
	cb.progress(t, 100)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := flood(ctx, t, bn.UDPAddr(), msgs)
	until(t, 10*time.Second, "the flood is noticed", func() bool { return bn.Drops()["no_cookie"] > 1000 })
	cb.progress(t, 1000)

	cn := newNode(t, nil)
	lc, err := cn.AddLink(bn.pk, SUDPH, bn.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	until(t, 30*time.Second, "a neighbour with a cookie gets in", lc.Up)
	if n := len(bn.Links()); n > bn.cfg.Policy.MaxPerAddr+2 {
		t.Errorf("%d links", n)
	}
	if n := bn.indicesInUse(); n > maxHalfOpen {
		t.Errorf("%d indices in use", n)
	}
	// The flood is still on: the engine ends all the same.
	bn.stop()
	cancel()
	t.Logf("%d initiations sent, drops %v", <-done, bn.Drops())
}

// TestCookie fills the budget of those who come without a cookie: the next one is
// refused, gets a cookie, shows it and is answered.
func TestCookie(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, nil)
	for bn.shake.free.take(bn.Now() + int64(time.Hour)) { // none for an hour
	}
	ab, _ := join(t, an, bn)
	if !ab.Up() || bn.Drops()["no_cookie"] != 1 {
		t.Errorf("drops %v, want no_cookie once", bn.Drops())
	}
}

// TestCookieShare is a place that has used up its share of handshakes.
func TestCookieShare(t *testing.T) {
	an, bn := newNode(t, nil), newNode(t, nil)
	later := bn.Now() + int64(time.Hour)
	for bn.shake.free.take(later) {
	}
	for bn.shake.places.take(place(an.UDPAddr().Addr()), later) {
	}
	l, err := an.AddLink(bn.pk, SUDPH, bn.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "the handshake is refused for its rate", func() bool { return bn.Drops()["handshake_rate"] > 0 })
	if l.Up() {
		t.Error("the link is up")
	}
}

// TestUnaskedAnswers sends responses and cookie replies for handshakes that nobody
// began: they do not reach the queue.
func TestUnaskedAnswers(t *testing.T) {
	n := newNode(t, nil)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(n.UDPAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, h := range []packet.HandshakeHeader{
		{Type: packet.FrameResponse, Receiver: 0x01000010, Sender: 1}, {Type: packet.FrameCookie, Receiver: 0x01000010},
	} {
		before := n.Drops()["unknown_index"]
		msg := append(h.Append(nil), make([]byte, packet.CookieFrameLen-packet.HandshakeHeaderLen)...)
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
		until(t, 5*time.Second, "it is counted", func() bool { return n.Drops()["unknown_index"] == before+1 })
	}
}

// TestHalfOpenIsForgotten replays one initiation: what it makes goes after a while.
func TestHalfOpenIsForgotten(t *testing.T) {
	t.Parallel()
	h := newAlternating()
	n := startNode(t, h, h.sink, func(c *Config) { c.Limits.ConfirmWithin = time.Second })
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(n.UDPAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	msg := forged(t, n, 1)[0]
	for range 3 {
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 5*time.Second, "there is a half-open link", func() bool { return len(n.Links()) == 1 })
	until(t, 5*time.Second, "it is gone", func() bool { return len(n.Links()) == 0 && n.indicesInUse() == 0 })
	n.stop()
	h.check(t)
	if n.inbound != 0 || len(n.perAddr) != 0 {
		t.Errorf("%d inbound links counted, %v", n.inbound, n.perAddr)
	}
}

func TestNursery(t *testing.T) {
	n := nursery{}
	links := make([]*Link, maxHalfOpen+2)
	for i := range links {
		links[i] = &Link{id: uint32(i)}
		oldest := n.add(links[i], int64(i))
		switch {
		case i < maxHalfOpen && oldest != nil:
			t.Fatalf("link %d pushed out %d", i, oldest.id)
		case i >= maxHalfOpen && oldest != links[i-maxHalfOpen]:
			t.Fatalf("link %d did not push out the oldest", i)
		}
	}
	if n.add(links[5], 1<<40); n[links[5]] != 5 {
		t.Error("a retry made a half-open link younger")
	}
}

func TestPlaceBuckets(t *testing.T) {
	p := newPlaceBuckets(10, 3)
	at := place(netip.MustParseAddr("192.0.2.1"))
	for i := range 5 {
		if got, want := p.take(at, 0), i < 3; got != want {
			t.Errorf("take %d at 0 = %v, want %v", i, got, want)
		}
	}
	if !p.take(at, second/10) || p.take(at, second/10) {
		t.Error("the bucket does not fill at its rate")
	}
	others := 0
	for i := range 100 {
		if p.take(place(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})), 0) {
			others++
		}
	}
	if others < 50 {
		t.Errorf("%d of 100 other places have room", others)
	}
}

func TestBucket(t *testing.T) {
	b := bucket{rate: 100, depth: 4}
	taken := 0
	for now := int64(0); now < second; now += second / 1000 {
		for b.take(now) {
			taken++
		}
	}
	if taken < 102 || taken > 104 {
		t.Errorf("%d tokens in a second, want 4 and 99", taken)
	}
}
