package forward

import (
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A routeError is what a fake link was asked to tell its neighbour.
type routeError struct {
	code  uint8
	mtu   int
	label packet.Label
}

// A fakeLink stands for a link in tests: it keeps what it was given to send.
type fakeLink struct {
	id     *link.Link // its identity in bursts
	mtu    int
	err    error
	labels []packet.Label // of forwarded packets
	runs   int
	told   []routeError
	direct packet.Label
	quiet  bool // keep nothing: benchmarks
}

func newFake() *fakeLink { return &fakeLink{id: new(link.Link), mtu: packet.MaxRoutePacket} }

func (f *fakeLink) Forward(_ *link.Tx, b *link.Burst, i, j int) error {
	if f.err != nil {
		return f.err
	}
	f.runs++
	if f.quiet {
		return nil
	}
	for _, p := range b.Pkt[i:j] {
		f.labels = append(f.labels, labelOf(p))
	}
	return nil
}

func (f *fakeLink) MTU() int { return f.mtu }

func (f *fakeLink) DirectLabel() packet.Label { return f.direct }

func (f *fakeLink) SendRouteError(code uint8, mtu int, label packet.Label) {
	if !f.quiet {
		f.told = append(f.told, routeError{code, mtu, label})
	}
}

// fakeSink counts what is delivered to it.
type fakeSink struct{ runs, packets int }

func (s *fakeSink) Receive(_ *link.Burst, i, j int, _ *Rule) {
	s.runs++
	s.packets += j - i
}

func testKey(t testing.TB) cipher.PubKey {
	t.Helper()
	pk, _ := cipher.GenerateKeyPair()
	return pk
}

func newTestEngine(t testing.TB, tr Transit) *Engine {
	t.Helper()
	e := New(Config{PubKey: testKey(t), Transit: tr, Log: zerolog.Nop()})
	t.Cleanup(e.Close)
	return e
}

// join attaches a fake link to peer and takes it up.
func (e *Engine) join(t testing.TB, peer cipher.PubKey, typ link.Type) *fakeLink {
	t.Helper()
	f := newFake()
	if e.attach(&port{link: f.id, out: f, peer: peer, typ: typ}) == 0 {
		t.Fatal("attach gave out no direct label")
	}
	e.LinkUp(f.id)
	return f
}

// fill makes b a burst from f with one packet of n bytes for each label.
func fill(b *link.Burst, f *fakeLink, n int, labels ...packet.Label) {
	b.From, b.N = f.id, len(labels)
	for i, l := range labels {
		if len(b.Pkt[i]) != n {
			b.Pkt[i] = make([]byte, n)
		}
		packet.RouteHeader{Label: l, Kind: packet.KindData, Length: uint16(n - packet.RouteHeaderLen)}.Put(b.Pkt[i])
	}
}
