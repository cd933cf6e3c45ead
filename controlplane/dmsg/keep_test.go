package dmsg

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// delegated returns the relays of pk in the discovery.
func delegated(t testing.TB, dir disc.Directory, pk cipher.PubKey) []cipher.PubKey {
	t.Helper()
	e, err := dir.Entry(testCtx(t), pk)
	if err != nil || e.Client == nil {
		return nil
	}
	return e.Client.DelegatedServers
}

// moveBar is what a client may take to be on another relay after its own has died.
const moveBar = 3 * time.Second

func TestRelayKilled(t *testing.T) {
	relays := []*testRelay{startRelay(t), startRelay(t)}
	dir := disc.NewStatic(relays[0].entry(), relays[1].entry())
	a := startClient(t, dir)
	first, second := relays[0], relays[1]
	if a.connected()[0] != first.pk {
		first, second = second, first
	}
	begin := time.Now()
	first.kill()
	e := a.await(t, "moved", kind(EventMoved))
	if took := time.Since(begin); took > moveBar {
		t.Errorf("moved after %v", took)
	}
	if e.From != first.pk || e.Server != second.pk {
		t.Errorf("moved from %s to %s", e.From, e.Server)
	}
	down := a.await(t, "down", kind(EventDown))
	if down.Server != first.pk || down.Err == nil {
		t.Errorf("down: %v", down)
	}
	// Others find it there.
	waitFor(t, "the entry names the new relay", func() bool {
		return slices.Equal(delegated(t, dir, a.PubKey()), []cipher.PubKey{second.pk})
	})
	b := startClient(t, dir)
	l, err := a.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	near, _ := connect(t, b, l)
	if near.Relay() != second.pk {
		t.Errorf("by way of %s", near.Relay())
	}
}

// A relay that comes back is used again, with nobody's help, also where it is the only
// one.
func TestOnlyRelayRestarts(t *testing.T) {
	pk, sk := cipher.GenerateKeyPair()
	r := startRelayAs(t, pk, sk, "127.0.0.1:0")
	a := startClient(t, disc.NewStatic(r.entry()))
	addr := r.ln.Addr().String()
	l, err := a.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	near, _ := connect(t, a, l)
	r.kill()
	a.await(t, "down", kind(EventDown))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, yamux.ErrSessionClosed) {
		t.Errorf("Read over a dead relay: %v", err)
	}
	// Nobody has closed the streams yet; what they took is free all the same.
	if len(a.ports.dialled) != 0 || len(a.guests.n) != 0 {
		t.Errorf("%d ports, %d guests left behind", len(a.ports.dialled), len(a.guests.n))
	}
	if _, err := a.DialVia(testCtx(t), pk, proto.Addr{PK: pk, Port: 1}); !errors.Is(err, proto.ErrUnreachable) {
		t.Errorf("Dial by way of a dead relay: %v", err)
	}
	startRelayAs(t, pk, sk, addr)
	a.await(t, "moved back", func(e Event) bool { return e.Kind == EventMoved && e.Server == pk && e.From == pk })
}

// A relay that drains keeps its streams until they end; new ones come by another relay.
func TestGoAway(t *testing.T) {
	relays := []*testRelay{startRelay(t), startRelay(t)}
	dir := disc.NewStatic(relays[0].entry())
	a, b := startClient(t, dir), startClient(t, dir)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	near, far := connect(t, a, l)
	dir.Add(relays[1].entry())
	relays[0].goAway()
	for _, c := range []*testClient{a, b} {
		c.await(t, "drain", kind(EventDrain))
		if e := c.await(t, "moved", kind(EventMoved)); e.Server != relays[1].pk {
			t.Errorf("moved to %s", e.Server)
		}
	}
	go func() { near.Write([]byte("still here")); near.CloseWrite() }()
	if got, err := io.ReadAll(far); string(got) != "still here" || err != nil {
		t.Errorf("read %q, %v over the draining relay", got, err)
	}
	infos := a.Sessions()
	if len(infos) != 2 || !infos[0].Draining || infos[0].Streams != 1 || infos[1].Draining || !infos[1].Kept {
		t.Errorf("sessions %+v", infos)
	}
	waitFor(t, "the entry names the new relay only", func() bool {
		return slices.Equal(delegated(t, dir, b.PubKey()), []cipher.PubKey{relays[1].pk})
	})
	next, _ := connect(t, a, l)
	if next.Relay() != relays[1].pk {
		t.Error("a new stream goes by way of the draining relay")
	}
	near.Close()
	far.Close()
	waitFor(t, "the old session ends", func() bool { return len(a.Sessions()) == 1 })
	for _, e := range a.events() {
		if e.Kind == EventDown {
			t.Errorf("the end of a drained session is told as a loss: %v", e)
		}
	}
}

// waitFor asks until something is so that nothing tells about.
func waitFor(t testing.TB, what string, so func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// While the discovery is away, sessions live on, new ones begin with relays that are
// known, and the entry is published as soon as the discovery is back.
func TestDiscoveryAway(t *testing.T) {
	relays := []*testRelay{startRelay(t), startRelay(t)}
	dir := &slowDir{}
	dir.Add(relays[0].entry())
	dir.Add(relays[1].entry())
	a, b := startClient(t, dir), startClient(t, dir)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, a, l)
	dir.fail(disc.ErrUnreachable)
	own := b.connected()[0]
	first, second := relays[0], relays[1]
	if own != first.pk {
		first, second = second, first
	}
	first.kill()
	if e := b.await(t, "moved", kind(EventMoved)); e.Server != second.pk {
		t.Errorf("moved to %s", e.Server)
	}
	b.await(t, "hidden", kind(EventHidden))
	// The discovery's last word about b is wrong by now.
	if st, err := a.DialVia(testCtx(t), second.pk, l.Addr().(proto.Addr)); err != nil {
		t.Errorf("Dial by way of the relay: %v", err)
	} else {
		st.Close()
	}
	dir.fail(nil)
	waitFor(t, "published again", func() bool {
		return slices.Equal(delegated(t, dir, b.PubKey()), []cipher.PubKey{second.pk})
	})
	near, _ := connect(t, a, l)
	if near.Relay() != second.pk {
		t.Errorf("by way of %s", near.Relay())
	}
}

// Without a discovery, pinned relays are all there is: peers are looked for there.
func TestPinnedOnly(t *testing.T) {
	r1, r2 := startRelay(t), startRelay(t)
	pinned := func(c *Config) { c.Servers = []*disc.Entry{r1.entry(), r2.entry()}; c.MinSessions = AllServers }
	a, b := startClient(t, nil, pinned), startClient(t, nil, pinned)
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	waitSessions(t, b, 2)
	connect(t, a, l)
	waitSessions(t, a, 2)
}

// A discovery that is itself reached over dmsg must not be asked where it is.
func TestServicesNeedNoLookup(t *testing.T) {
	r := startRelay(t)
	service := startClient(t, nil, func(c *Config) { c.Servers = []*disc.Entry{r.entry()} })
	l, err := service.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	dir := &slowDir{err: disc.ErrUnreachable}
	a := newTestClient(t, dir, func(c *Config) {
		c.Servers = []*disc.Entry{r.entry()}
		c.Services = []cipher.PubKey{service.PubKey()}
	})
	connect(t, a, l)
}

// A peer on another relay is reached by a session opened for the dial; it is not kept.
func TestDialOpensSession(t *testing.T) {
	r1, r2 := startRelay(t), startRelay(t)
	all := disc.NewStatic(r1.entry(), r2.entry())
	at := func(r *testRelay) func(*Config) {
		return func(c *Config) { c.Directory = oneRelay{all, r.entry()} }
	}
	a, b := startClient(t, all, at(r1)), startClient(t, all, at(r2))
	l, err := b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	near, far := connect(t, a, l)
	if near.Relay() != r2.pk {
		t.Errorf("by way of %s", near.Relay())
	}
	if got := delegated(t, all, a.PubKey()); !slices.Equal(got, []cipher.PubKey{r1.pk}) {
		t.Errorf("a's entry names %v", got)
	}
	near.Close()
	far.Close()
	a.tidy(true)
	a.Client.mu.Lock()
	a.sessions[r2.pk].idle = time.Now().Add(-idleLife)
	a.Client.mu.Unlock()
	a.tidy(true)
	waitFor(t, "the idle session ends", func() bool { return len(a.Sessions()) == 1 })
	if s := a.Sessions(); s[0].Server != r1.pk || !s[0].Kept {
		t.Errorf("sessions %+v", s)
	}
}

// oneRelay is a directory that offers one relay only.
type oneRelay struct {
	*disc.Static
	relay *disc.Entry
}

func (o oneRelay) AvailableServers(context.Context) ([]*disc.Entry, error) {
	return []*disc.Entry{o.relay}, nil
}

// A hole in the network: connections stay open and nothing comes through. The client
// notices by itself.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	r1, r2 := startRelay(t), startRelay(t)
	var hole atomic.Pointer[holeConn]
	a := startClient(t, disc.NewStatic(r1.entry(), r2.entry()), func(c *Config) {
		c.KeepAlive, c.Patience = 200*time.Millisecond, 500*time.Millisecond
		dial := c.DialContext
		c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			h := &holeConn{Conn: conn}
			hole.CompareAndSwap(nil, h)
			return h, nil
		}
	})
	hole.Load().dead.Store(true)
	begin := time.Now()
	a.await(t, "moved", kind(EventMoved))
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("moved after %v", took)
	}
}

// A holeConn swallows what is written, and gives nothing, once it is dead.
type holeConn struct {
	net.Conn
	dead atomic.Bool
}

func (h *holeConn) Write(p []byte) (int, error) {
	if h.dead.Load() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// startMute runs a relay that takes connections and says nothing. gone gets an element when
// the client closes one.
func startMute(t testing.TB) (entry *disc.Entry, gone <-chan struct{}) {
	t.Helper()
	pk, _ := cipher.GenerateKeyPair()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{}, 100)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				io.Copy(io.Discard, conn)
				closed <- struct{}{}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return disc.NewServer(pk, ln.Addr().String(), 1<<30, time.Now()), closed
}

// abandonBar is well below the time-out of a handshake.
const abandonBar = proto.HandshakeTimeout / 2

// A relay that does not speak must not keep the client from one that does; when that
// one is there, the attempt ends.
func TestMuteRelay(t *testing.T) {
	entry, gone := startMute(t)
	good := startRelay(t)
	begin := time.Now()
	a := startClient(t, disc.NewStatic(entry, good.entry())) // the mute one has far more room
	if pks := a.connected(); len(pks) != 1 || pks[0] != good.pk {
		t.Errorf("connected to %v", pks)
	}
	select {
	case <-gone:
	case <-time.After(abandonBar):
		t.Error("the attempt goes on although it is not needed")
	}
	if took := time.Since(begin); took > moveBar+abandonBar {
		t.Errorf("took %v", took)
	}
}

// An attempt to connect ends when nobody waits for it any more.
func TestAbandonedDial(t *testing.T) {
	entry, gone := startMute(t)
	peer, _ := cipher.GenerateKeyPair()
	cfg := DefaultConfig()
	_, cfg.SecKey = cipher.GenerateKeyPair()
	cfg.Servers = []*disc.Entry{entry}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Dial(ctx, proto.Addr{PK: peer, Port: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial: %v", err)
	}
	select {
	case <-gone:
	case <-time.After(abandonBar):
		t.Error("the attempt goes on")
	}
}
