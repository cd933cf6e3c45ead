package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node is a visor without streams: links over loopback, the label table, and
// sessions whose floor above keeps what arrives.
type node struct {
	t       testing.TB
	pk      cipher.PubKey
	links   *link.Engine
	forward *forward.Engine
	m       *Manager
	up      *recorder
	ttl     time.Duration
	stop    func()
}

type nodeOptions struct {
	limits noise.Limits
	mux    bool
	quiet  bool          // the recorder counts and keeps nothing
	ttl    time.Duration // of routes and rules that join makes
	told   func(RouteInfo, RouteEvent)
}

// newNodes starts n nodes with keys in rising order.
func newNodes(t testing.TB, n int, o nodeOptions) []*node {
	t.Helper()
	var secrets []cipher.SecKey
	for range n {
		_, sk := cipher.GenerateKeyPair()
		secrets = append(secrets, sk)
	}
	nodes := make([]*node, n)
	for i, sk := range secrets {
		nodes[i] = startNode(t, sk, netip.MustParseAddrPort("127.0.0.1:0"), o)
	}
	return nodes
}

func startNode(t testing.TB, sk cipher.SecKey, addr netip.AddrPort, o nodeOptions) *node {
	t.Helper()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	nd := &node{t: t, pk: static.PubKey(), ttl: o.ttl, up: newRecorder(o.quiet)}
	nd.forward = forward.New(forward.Config{PubKey: nd.pk, Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	cfg := link.DefaultConfig()
	cfg.Static, cfg.UDP, cfg.TCP, cfg.Workers = static, addr, netip.MustParseAddrPort("127.0.0.1:0"), 2
	if nd.links, err = link.New(cfg, nd.forward); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- nd.links.Run(ctx) }()
	nd.m, err = New(Config{
		Static: static, Links: nd.links, Forward: nd.forward, Upper: nd.up,
		Limits: o.limits, Mux: o.mux, OnRoute: o.told, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	nd.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("link engine: %v", err)
		}
		nd.m.Close()
		nd.forward.Close()
	})
	t.Cleanup(nd.stop)
	return nd
}

// connect makes a SUDPH link from a to b and waits until it is up.
func connect(t testing.TB, a, b *node) {
	t.Helper()
	connectOver(t, a, b, link.SUDPH)
}

func connectOver(t testing.TB, a, b *node, typ link.Type) {
	t.Helper()
	addr := b.links.UDPAddr()
	if typ == link.STCPR {
		addr = b.links.TCPAddr()
	}
	l, err := a.links.AddLink(b.pk, typ, addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.WaitUp(ctx); err != nil {
		t.Fatal(err)
	}
}

// join sets up a route between the ends over the nodes of path, both ways, with
// labels from base on.
func join(t testing.TB, base packet.Label, path ...*node) {
	t.Helper()
	joinClass(t, 0, base, path...)
}

// joinClass is join for a class.
func joinClass(t testing.TB, class uint32, base packet.Label, path ...*node) {
	t.Helper()
	last := len(path) - 1
	for i, n := range path {
		at := base + 10*packet.Label(i)
		switch i {
		case 0, last:
			peer, next := path[last], path[1%len(path)]
			out, in := base+10+1, at+2
			if i == last {
				peer, next = path[0], path[last-1]
				out, in = base+10*packet.Label(last-1)+2, at+1
			}
			if _, err := n.m.AddRoute(RouteSpec{
				Peer: peer.pk, Out: forward.Neighbour{Peer: next.pk}, OutLabel: out,
				In: forward.Neighbour{Peer: next.pk}, InLabel: in, Class: class, TTL: n.ttl,
			}); err != nil {
				t.Fatal(err)
			}
		default:
			prev, next := forward.Neighbour{Peer: path[i-1].pk}, forward.Neighbour{Peer: path[i+1].pk}
			for _, s := range []forward.RuleSpec{
				{In: prev, InLabel: at + 1, Out: next, OutLabel: at + 10 + 1, TTL: n.ttl},
				{In: next, InLabel: at + 2, Out: prev, OutLabel: at - 10 + 2, TTL: n.ttl},
			} {
				if _, err := n.forward.AddRule(s); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (n *node) dial(peer *node) *Session {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := n.m.Dial(ctx, peer.pk)
	if err != nil {
		n.t.Fatalf("Dial: %v; drops here %v, there %v", err, n.m.Drops(), peer.m.Drops())
	}
	return s
}

// drops returns what was dropped but for handshakes that crossed, which happens
// when both ends begin at once.
func (n *node) drops() map[string]uint64 {
	d := n.m.Drops()
	delete(d, DropHandshakeTie.String())
	return d
}

// settled reports whether every route of s that needs keys has the newest ones, and
// the peer as well.
func (s *Session) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.routes {
		if r.direct == nil && (r.next == nil || r.acked != r.next) {
			return false
		}
	}
	return !s.shake.active.Load()
}

// A recorder is the floor above in tests.
type recorder struct {
	quiet bool
	more  chan struct{}

	mu      sync.Mutex
	reply   func(*Session) // if not nil, called from Deliver
	got     [][]byte       // proto ‖ payload
	packets int
	bytes   int
	ups     int
	downs   []error
}

func newRecorder(quiet bool) *recorder { return &recorder{quiet: quiet, more: make(chan struct{}, 1)} }

func (r *recorder) Deliver(from *Session, proto uint8, payloads [][]byte) {
	r.mu.Lock()
	if r.reply != nil {
		r.reply(from)
	}
	for _, p := range payloads {
		r.packets++
		r.bytes += len(p)
		if !r.quiet {
			r.got = append(r.got, append([]byte{proto}, p...))
		}
	}
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) SessionUp(*Session) {
	r.mu.Lock()
	r.ups++
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) SessionDown(_ *Session, err error) {
	r.mu.Lock()
	r.downs = append(r.downs, err)
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) signal() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// until waits for cond, which is asked under the lock whenever something came.
func (r *recorder) until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		ok := cond()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.more:
		case <-timeout:
			t.Fatalf("timed out: %s", what)
		}
	}
}

// eventually polls cond, for state that nobody signals.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("timed out: %s", what)
		}
	}
}

// tcpHeader makes a header of 20 bytes.
func tcpHeader(seq uint32, flags byte) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h, 4000)
	binary.BigEndian.PutUint16(h[2:], 80)
	binary.BigEndian.PutUint32(h[tcpSeq:], seq)
	h[12], h[tcpFlags] = 5<<4, flags
	return h
}

// stream puts TCP payloads in order of their sequence numbers.
func (r *recorder) stream() []byte {
	var b []byte
	for _, p := range r.got {
		if p[0] != packet.ProtoTCP {
			continue
		}
		seq, data := int(binary.BigEndian.Uint32(p[1+tcpSeq:])), p[1+20:]
		if need := seq + len(data); need > len(b) {
			b = append(b, make([]byte, need-len(b))...)
		}
		copy(b[seq:], data)
	}
	return b
}

func TestDirectSession(t *testing.T) {
	nodes := newNodes(t, 2, nodeOptions{})
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	s := a.dial(b)
	data := bytes.Repeat([]byte("direct. "), 8000)
	if err := s.SendTCP(tcpHeader(0, tcpPSH), [][]byte{data[:1000], data[1000:]}); err != nil {
		t.Fatal(err)
	}
	b.up.until(t, "the segment", func() bool { return b.up.bytes >= len(data)+20 && bytes.Equal(b.up.stream(), data) })
	if got, ok := b.m.Lookup(a.pk.OverlayAddr().As16()); !ok || got.PubKey() != a.pk {
		t.Errorf("Lookup of the peer's address = %v, %v", got, ok)
	}
	// Keys are made in the background, and confirmed, although no data needs them.
	eventually(t, "session keys", func() bool {
		sb, _ := b.m.Session(a.pk)
		return s.ring.SendEpoch(ns(a.links.Now())) != nil && sb.ring.SendEpoch(ns(b.links.Now())) != nil
	})
}

func TestTwoHops(t *testing.T) {
	nodes := newNodes(t, 3, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	connect(t, a, b)
	connect(t, b, c)
	join(t, 100, a, b, c)
	s, back := a.dial(c), c.dial(a)
	data := bytes.Repeat([]byte("through b "), 6000)
	if err := s.SendTCP(tcpHeader(0, tcpPSH), [][]byte{data}); err != nil {
		t.Fatal(err)
	}
	c.up.until(t, "the segment", func() bool { return bytes.Equal(c.up.stream(), data) })
	if err := back.SendPacket(packet.ProtoUDP, []byte("head"), data[:3000]); err != nil {
		t.Fatal(err)
	}
	a.up.until(t, "the datagram", func() bool {
		return len(a.up.got) == 1 && bytes.Equal(a.up.got[0][1:], append([]byte("head"), data[:3000]...))
	})
	eventually(t, "the route's MTU to be found", func() bool {
		in := a.m.Routes()
		for _, r := range in {
			if r.Peer == c.pk && r.MTU > startMTU && r.RTT > 0 && r.State == StateUp && r.InUse {
				return true
			}
		}
		return false
	})
	for _, n := range nodes {
		if d := n.drops(); len(d) != 0 {
			t.Errorf("drops: %v", d)
		}
	}
}
