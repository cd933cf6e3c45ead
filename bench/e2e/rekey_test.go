//go:build e2e && linux

package e2e

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/netstack"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/session"
)

// restless makes new keys each second and refuses those of three seconds, so that
// whoever still sends after that must have got newer ones. A visor's configuration
// cannot ask for this: the test puts the floors together itself.
func restless() noise.Limits {
	return noise.Limits{
		RekeyAfter: time.Second, TakeoverAfter: 2 * time.Second, RejectAfter: 3 * time.Second,
		ConfirmWithin: time.Second, RekeyPackets: 1 << 40,
	}
}

// TestRekey changes the keys of both links and of the session between their ends
// each second for a minute, under a load of 100 Mbit/s. Nothing is lost: no floor
// counts a drop, and the file is right.
//
//	A ══ B ══ C
func TestRekey(t *testing.T) {
	for _, typ := range []link.Type{link.SUDPH, link.STCPR} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			testRekey(t, typ)
		})
	}
}

// loopbackMTU is the largest route packet that a SUDPH link tries.
const loopbackMTU = 8928

func testRekey(t *testing.T, typ link.Type) {
	const length = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 2*length)
	defer cancel()
	a, b, c := startFloors(t), startFloors(t), startFloors(t)
	a.connect(ctx, t, b, typ)
	c.connect(ctx, t, b, typ)
	near := func(f *floors) forward.Neighbour { return forward.Neighbour{Peer: f.pk} }
	for _, rule := range []forward.RuleSpec{
		{In: near(a), InLabel: 17, Out: near(c), OutLabel: 34},
		{In: near(c), InLabel: 33, Out: near(a), OutLabel: 18},
	} {
		if _, err := b.forward.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	for end, route := range map[*floors]session.RouteSpec{
		a: {Peer: c.pk, Out: near(b), OutLabel: 17, In: near(b), InLabel: 18},
		c: {Peer: a.pk, Out: near(b), OutLabel: 33, In: near(b), InLabel: 34},
	} {
		if _, err := end.sessions.AddRoute(route); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := c.stack.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	s := startService(t, ln)
	conn, err := a.stack.Dial(ctx, c.pk, 80)
	if err != nil {
		t.Fatal(err)
	}
	const rate = 100e6 / 8 // bytes a second: sockets have room for bursts, so that a loss is ours
	x := &transfer{done: make(chan error, 1)}
	go func() { x.done <- x.run(&paced{Conn: conn, begin: time.Now(), rate: rate}, endless) }()

	// Until links and routes have found what loopback carries they drop probes that are
	// too large.
	eventually(t, 20*time.Second, "the MTU is not found", func() bool {
		for _, f := range []*floors{a, b, c} {
			for _, r := range f.sessions.Routes() {
				if typ == link.SUDPH && r.MTU != loopbackMTU || typ != link.SUDPH && r.MTU != packet.MaxRoutePacket {
					return false
				}
			}
		}
		return true
	})
	const step = 5 * time.Second
	counted := map[string]uint64{}
	drops := func(found func(where, reason string, n uint64)) {
		for _, f := range []*floors{a, b, c} {
			for _, drops := range []map[string]uint64{f.links.Drops(), f.forward.Drops(), f.sessions.Drops()} {
				for reason, n := range drops {
					found(f.pk.Short()+" "+reason, reason, n)
				}
			}
			for _, l := range f.links.Links() {
				found(l.String()+" of "+f.pk.Short(), "", l.Info().TxDrops)
			}
		}
	}
	drops(func(where, _ string, n uint64) { counted[where] = n })
	for range length / step {
		before := s.received.Load()
		time.Sleep(step) // the test's length is what was asked for
		if got := s.received.Load() - before; float64(got) < rate*step.Seconds()/2 {
			t.Errorf("only %d bytes arrived in %v", got, step)
		}
		drops(func(where, reason string, n uint64) {
			// Handshakes that cross are settled by dropping one: nothing is lost.
			if reason != "tie" && reason != "handshake_tie" && n != counted[where] {
				t.Errorf("%s: %d more", where, n-counted[where])
			}
		})
		if t.Failed() {
			break
		}
	}
	if err := x.finish(); err != nil {
		t.Error(err)
	}
	t.Logf("%d MiB", x.sent.Load()>>20)
}

// paced holds writes back to a rate in bytes a second.
type paced struct {
	net.Conn
	begin   time.Time
	rate    float64
	written int
}

func (p *paced) Write(b []byte) (int, error) {
	time.Sleep(time.Until(p.begin.Add(time.Duration(float64(p.written) / p.rate * float64(time.Second)))))
	n, err := p.Conn.Write(b)
	p.written += n
	return n, err
}

func (p *paced) CloseWrite() error { return p.Conn.(*netstack.Conn).CloseWrite() }

// floors is the data plane of a visor, in this process.
type floors struct {
	pk       cipher.PubKey
	links    *link.Engine
	forward  *forward.Engine
	sessions *session.Manager
	stack    *netstack.Stack
}

// startFloors puts one together, on loopback and restless, until the test ends.
func startFloors(t *testing.T) *floors {
	t.Helper()
	_, sk := cipher.GenerateKeyPair()
	static, err := cipher.NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	f := &floors{pk: static.PubKey()}
	f.forward = forward.New(forward.Config{PubKey: f.pk, Transit: forward.Transit{Allow: true}, Log: zerolog.Nop()})
	t.Cleanup(f.forward.Close)
	cfg := link.DefaultConfig()
	cfg.Static, cfg.Limits = static, restless()
	cfg.UDP = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.TCP = cfg.UDP
	if f.links, err = link.New(cfg, f.forward); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.links.Run(ctx) }()
	t.Cleanup(func() {
		if f.stack != nil {
			f.stack.Close()
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("links: %v", err)
		}
		if f.sessions != nil {
			f.sessions.Close()
		}
	})
	if f.stack, err = netstack.New(netstack.Config{Network: f, PubKey: f.pk, Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	f.sessions, err = session.New(session.Config{
		Static: static, Links: f.links, Forward: f.forward, Upper: f, Limits: restless(), Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// connect makes a link and waits until it is up.
func (f *floors) connect(ctx context.Context, t *testing.T, to *floors, typ link.Type) {
	t.Helper()
	addr := to.links.UDPAddr()
	if typ == link.STCPR {
		addr = to.links.TCPAddr()
	}
	l, err := f.links.AddLink(to.pk, typ, addr)
	if err == nil {
		err = l.WaitUp(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// DialClass and Lookup are sessions as streams see them.
func (f *floors) DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (netstack.Peer, error) {
	s, err := f.sessions.DialClass(ctx, pk, class)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (f *floors) Lookup(overlay [16]byte) (netstack.Peer, bool) {
	s, ok := f.sessions.Lookup(overlay)
	return s, ok
}

// Deliver, SessionUp and SessionDown are streams as sessions see them.
func (f *floors) Deliver(from *session.Session, proto uint8, payloads [][]byte) {
	f.stack.Deliver(from, proto, payloads)
}

func (f *floors) SessionUp(*session.Session) {}

func (f *floors) SessionDown(s *session.Session, _ error) { f.stack.PeerGone(s.PubKey(), s.Class()) }
