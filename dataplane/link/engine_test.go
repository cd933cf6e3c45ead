package link

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/packet"
)

// TestMain looks for goroutines left behind. Parallel tests here wait more than they
// work, so more of them run at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// A sink is a Handler that keeps what comes in.
type sink struct {
	mu     sync.Mutex
	labels packet.Label
	got    [][]byte
	errs   []uint8
	events chan string
	more   chan struct{}
}

func newSink() *sink {
	return &sink{labels: 1 << 16, events: make(chan string, 64), more: make(chan struct{}, 1)}
}

func (s *sink) Attach(*Link) packet.Label {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labels++
	return s.labels
}
func (s *sink) Detach(*Link)          { s.events <- "detach" }
func (s *sink) LinkUp(*Link)          { s.events <- "up" }
func (s *sink) LinkDown(*Link, error) { s.events <- "down" }
func (s *sink) HandleBurst(b *Burst) {
	s.mu.Lock()
	for _, p := range b.Pkt[:b.N] {
		s.got = append(s.got, bytes.Clone(p))
	}
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}
func (s *sink) RouteError(_ *Link, code uint8, _ int, _ packet.Label) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, code)
}

// wait returns once n packets are there.
func (s *sink) wait(t *testing.T, n int) [][]byte {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		got := s.got
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-s.more:
		case <-timeout:
			t.Fatalf("%d of %d packets arrived", len(got), n)
		}
	}
}

// forget drops what has come so far.
func (s *sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = nil
}

func (s *sink) expect(t *testing.T, event string) {
	t.Helper()
	select {
	case got := <-s.events:
		if got != event {
			t.Fatalf("event %q, want %q", got, event)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("no event, want %q", event)
	}
}

// A node is an engine under test.
type node struct {
	*Engine
	*sink
	pk   cipher.PubKey
	stop func()
}

func newNode(t testing.TB, adjust func(*Config)) *node {
	t.Helper()
	s := newSink()
	return startNode(t, s, s, adjust)
}

func startNode(t testing.TB, h Handler, s *sink, adjust func(*Config)) *node {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Static = static
	cfg.UDP = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Workers = 2
	if adjust != nil {
		adjust(&cfg)
	}
	e, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	n := &node{Engine: e, sink: s, pk: pk}
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// join links a to b and waits until both are up.
func join(t *testing.T, a, b *node) (ab, ba *Link) {
	t.Helper()
	l, err := a.AddLink(b.pk, SUDPH, b.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WaitUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.expect(t, "up")
	b.expect(t, "up")
	return l, b.Links()[0]
}

// send sends n route packets of size bytes under label, numbered in their bodies.
func send(t *testing.T, l *Link, label packet.Label, n, size int) {
	t.Helper()
	tx := l.e.GetTx()
	defer l.e.PutTx(tx)
	tx.Start(l)
	for i := range n {
		p := tx.Packet(size)
		clear(p)
		packet.RouteHeader{Label: label, Kind: packet.KindData, Length: uint16(size - packet.RouteHeaderLen)}.Put(p)
		p[8], p[9] = byte(i>>8), byte(i)
	}
	if err := tx.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestLinkCarriesPackets(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	ab, ba := join(t, a, b)
	if ab.Peer() != b.pk || ba.Peer() != a.pk {
		t.Fatal("the links name other peers")
	}
	if ab.DirectLabel() != ba.DirectIn() || ba.DirectLabel() != ab.DirectIn() {
		t.Fatal("direct labels were not exchanged")
	}
	for _, size := range []int{16, 1200, packet.MinMTU} {
		b.sink.forget()
		send(t, ab, 7, 300, size)
		got := b.wait(t, 300)
		for i, p := range got {
			if len(p) != size || int(p[8])<<8|int(p[9]) != i {
				t.Fatalf("size %d: packet %d is %d bytes, number %d", size, i, len(p), int(p[8])<<8|int(p[9]))
			}
		}
	}
	send(t, ba, 7, 10, 64)
	a.wait(t, 10)
	if d := a.Drops(); len(d) > 0 {
		t.Errorf("drops at a: %v", d)
	}
}

func TestLinkMTUGrows(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	ab, _ := join(t, a, b)
	deadline := time.Now().Add(30 * time.Second)
	for ab.MTU() != maxUDPPacket { // loopback carries 64 KiB
		if time.Now().After(deadline) {
			t.Fatalf("MTU is %d, want %d", ab.MTU(), maxUDPPacket)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, nil), newNode(t, nil)
	other, _ := cipher.GenerateKeyPair()
	l, err := a.AddLink(other, SUDPH, b.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	if err = l.WaitUp(ctx); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("WaitUp: %v, want ErrNoAnswer", err)
	}
	if b.Drops()["bad_mac1"] == 0 {
		t.Errorf("the far side counted %v, want bad_mac1", b.Drops())
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	b := newNode(t, func(c *Config) { c.Policy = Policy{} })
	a := newNode(t, nil)
	l, err := a.AddLink(b.pk, SUDPH, b.UDPAddr())
	if err != nil {
		t.Fatal(err)
	}
	if err = l.WaitUp(t.Context()); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("WaitUp: %v, want ErrNoAnswer", err)
	}
	if b.Drops()["policy"] == 0 || len(b.Links()) != 0 {
		t.Errorf("drops %v, %d links", b.Drops(), len(b.Links()))
	}
}

func TestGoodbye(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	join(t, a, b)
	a.stop()
	b.expect(t, "down")
	b.expect(t, "detach")
	if n := len(b.Links()); n != 0 {
		t.Errorf("%d links left", n)
	}
}

// TestRestart is a neighbour that comes back with the same key and address and
// without a memory: its hint brings the link back at once.
func TestRestart(t *testing.T) {
	a := newNode(t, nil)
	pk, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	b := newNode(t, func(c *Config) { c.Static = static })
	b.pk = pk
	ab, _ := join(t, a, b)
	addr := b.UDPAddr()
	_ = b.udp.Close() // dies without a word
	b.stopQuietly()

	b2 := newNode(t, func(c *Config) { c.Static, c.UDP = static, addr })
	for range 50 { // the first packets draw the hint
		send(t, ab, 7, 1, 64)
		select {
		case <-b2.more:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("nothing arrives after the restart; drops at the new one: %v", b2.Drops())
}

// stopQuietly lets the engine end without its goodbyes reaching anybody.
func (n *node) stopQuietly() { n.stop() }
