package link

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A carrier stands for dmsg: it joins nodes by key, and hides that its streams are
// TCP, as dmsg's are not.
type carrier struct {
	t     testing.TB
	mu    sync.Mutex
	nodes map[cipher.PubKey]*node
	conns []net.Conn
	lie   cipher.PubKey // whom streams are said to be from, if not zero
	err   error         // of opening
}

type opaque struct{ net.Conn }

// node returns an engine with links over c alone.
func (c *carrier) node() *node {
	var self cipher.PubKey
	n := newNode(c.t, func(cfg *Config) {
		cfg.UDP = netip.AddrPort{}
		self = cfg.Static.PubKey()
		cfg.Streams = func(ctx context.Context, peer cipher.PubKey) (net.Conn, error) { return c.open(ctx, self, peer) }
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[n.pk] = n
	return n
}

func (c *carrier) open(ctx context.Context, from, to cipher.PubKey) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var d net.Dialer
	out, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	in, err := l.Accept()
	if err != nil {
		return nil, err
	}
	if !c.lie.IsZero() {
		from = c.lie
	}
	c.conns = append(c.conns, out)
	c.nodes[to].AcceptStream(opaque{in}, from)
	return opaque{out}, nil
}

func newCarrier(t testing.TB) *carrier { return &carrier{t: t, nodes: map[cipher.PubKey]*node{}} }

func TestCarriedLink(t *testing.T) {
	c := newCarrier(t)
	a, b := c.node(), c.node()
	ab, err := a.AddLink(b.pk, DMSG, netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		a.expect(t, "up")
		b.expect(t, "up")
		ba := b.Links()[0]
		if ab.Type() != DMSG || ba.Type() != DMSG || ba.Peer() != a.pk || ab.MTU() != packet.MaxRoutePacket {
			t.Fatalf("%v and %v, MTU %d", ab, ba, ab.MTU())
		}
		send(t, ab, 7, 20, 32800)
		b.wait(t, 20*(round+1))
		send(t, ba, 7, 10, 64)
		a.wait(t, 10*(round+1))
		// The relay dies: the link is set up again over another stream.
		c.mu.Lock()
		for _, conn := range c.conns {
			_ = conn.Close()
		}
		c.mu.Unlock()
		a.expect(t, "down")
		b.expect(t, "down")
		b.expect(t, "detach")
	}
}

// TestCarriedLinkBothBegin: both ends keep a link to each other, and it is one.
func TestCarriedLinkBothBegin(t *testing.T) {
	c := newCarrier(t)
	a, b := c.node(), c.node()
	ab, err := a.AddLink(b.pk, DMSG, netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	ba, err := b.AddLink(a.pk, DMSG, netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Link{ab, ba} {
		if err := l.WaitUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.Links()) != 1 || len(b.Links()) != 1 {
		t.Errorf("%d and %d links, want one each", len(a.Links()), len(b.Links()))
	}
}

// TestCarriedLinkIsFromItsKey: a carrier that says a stream is from somebody else than
// its handshake does brings no link about.
func TestCarriedLinkIsFromItsKey(t *testing.T) {
	c := newCarrier(t)
	c.lie, _ = cipher.GenerateKeyPair()
	a, b := c.node(), c.node()
	ab, err := a.AddLink(b.pk, DMSG, netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ab.WaitUp(t.Context()); err == nil || !strings.Contains(err.Error(), "no visor with key") {
		t.Errorf("link up: %v", err)
	}
	if n := b.Drops()[DropPolicy.String()]; n == 0 {
		t.Errorf("drops %v, want some by policy", b.Drops())
	}
	if len(b.Links()) != 0 {
		t.Error("the link exists all the same")
	}
}

func TestCarriedLinkRefusals(t *testing.T) {
	c := newCarrier(t)
	a := c.node()
	peer, _ := cipher.GenerateKeyPair()
	if _, err := a.AddLink(peer, DMSG, netip.MustParseAddrPort("127.0.0.1:1")); err == nil {
		t.Error("a dmsg link to an address was taken")
	}
	if _, err := tcpNode(t, nil).AddLink(peer, DMSG, netip.AddrPort{}); err == nil || !strings.Contains(err.Error(), "dmsg is off") {
		t.Errorf("an engine without a carrier: %v", err)
	}
	// A stream that cannot be opened is reported at once, with its reason.
	c.err = net.UnknownNetworkError("relayless")
	l, err := a.AddLink(peer, DMSG, netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WaitUp(t.Context()); err == nil || !strings.Contains(err.Error(), "relayless") {
		t.Errorf("link up: %v, want the carrier's reason", err)
	}
	// Engines that have stopped close what they are given.
	a.stop()
	near, far := net.Pipe()
	defer near.Close()
	a.AcceptStream(far, peer)
	if _, err := near.Write([]byte{0}); err == nil {
		t.Error("a stopped engine keeps a stream")
	}
}
