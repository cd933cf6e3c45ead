package transport

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/netstack"
	"github.com/skyminer/skywire/dataplane/session"
)

// patience is how long something may take that takes an instant, on a machine that has
// much else to do.
const patience = time.Minute

// dmsgLinks is the dmsg port at which the test's visors take links.
const dmsgLinks = 49

// A visor is a whole data plane with a Manager on top.
type visor struct {
	*Manager
	t       testing.TB
	engine  *link.Engine
	forward *forward.Engine
	session *session.Manager
	stack   *netstack.Stack
	dmsg    *dmsg.Client
	stop    func()
}

// options of a visor in a test.
type options struct {
	sk     cipher.SecKey
	noTCP  bool // accepts no STCPR links
	noUDP  bool
	noDmsg bool
	direct bool // no links over dmsg
	change func(*Config)
}

// A testNetwork is a relay and deployments.
type testNetwork struct {
	t     testing.TB
	relay *relaytest.Relay
	dir   *disc.Static
}

func newTestNetwork(t testing.TB) *testNetwork {
	r := relaytest.Start(t, 0)
	return &testNetwork{t, r, disc.NewStatic(r.Entry())}
}

// sessionNetwork and upper join session and netstack.
type sessionNetwork struct{ m *session.Manager }

func (n *sessionNetwork) DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (netstack.Peer, error) {
	s, err := n.m.DialClass(ctx, pk, class)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (n *sessionNetwork) Lookup(a [16]byte) (netstack.Peer, bool) {
	s, ok := n.m.Lookup(a)
	if !ok {
		return nil, false
	}
	return s, true
}

type upper struct{ s *netstack.Stack }

func (u upper) Deliver(from *session.Session, proto uint8, p [][]byte) { u.s.Deliver(from, proto, p) }
func (upper) SessionUp(*session.Session)                               {}
func (u upper) SessionDown(s *session.Session, _ error)                { u.s.PeerGone(s.PubKey(), s.Class()) }

// start runs a visor that is in these deployments.
func (n *testNetwork) start(o options, deployments ...func(pk cipher.PubKey) Member) *visor {
	t := n.t
	t.Helper()
	if o.sk == (cipher.SecKey{}) {
		_, o.sk = cipher.GenerateKeyPair()
	}
	pk, err := o.sk.PubKey()
	must(t, err)
	v := &visor{t: t}
	cfg := Config{SecKey: o.sk, Instance: deployment.NewInstance(time.Now()), Version: "test", Log: logger(t)}
	if !o.noDmsg {
		dc := dmsg.DefaultConfig()
		dc.SecKey, dc.Directory, dc.MinSessions = o.sk, n.dir, 1
		v.dmsg, err = dmsg.New(dc)
		must(t, err)
	}
	for i, d := range deployments {
		m := d(pk)
		if i == 0 {
			m.Dmsg = v.dmsg
		}
		cfg.Members = append(cfg.Members, m)
	}
	if len(deployments) == 0 {
		cfg.Members = []Member{{Dmsg: v.dmsg}}
	}
	if o.change != nil {
		o.change(&cfg)
	}
	v.Manager, err = New(cfg)
	must(t, err)

	static, err := cipher.NewStaticKey(o.sk)
	must(t, err)
	lc := link.DefaultConfig()
	lc.Static, lc.Workers, lc.STUN, lc.OnLink = static, 1, v.HandleSTUN, v.OnLink
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	if !o.noUDP {
		lc.UDP = loopback
	}
	if !o.noTCP {
		lc.TCP = loopback
	}
	if v.dmsg != nil && !o.direct {
		lc.Streams = func(ctx context.Context, peer cipher.PubKey) (net.Conn, error) {
			st, err := v.dmsg.Dial(ctx, proto.Addr{PK: peer, Port: dmsgLinks})
			if err != nil {
				return nil, err
			}
			return st, nil
		}
	}
	v.forward = forward.New(forward.Config{PubKey: pk, Log: zerolog.Nop()})
	v.engine, err = link.New(lc, v.forward)
	must(t, err)
	network := &sessionNetwork{}
	v.stack, err = netstack.New(netstack.Config{Network: network, PubKey: pk, Budget: 64 << 20})
	must(t, err)
	v.session, err = session.New(session.Config{Static: static, Links: v.engine, Forward: v.forward, Upper: upper{v.stack}})
	must(t, err)
	network.m = v.session
	v.Attach(v.engine, v.stack)
	v.run()
	return v
}

// run runs all of it until the end of the test, or until stop.
func (v *visor) run() {
	above, stopAbove := context.WithCancel(context.Background())
	below, stopBelow := context.WithCancel(context.Background())
	var manager, floors sync.WaitGroup
	manager.Go(func() { check(v.t, v.Run(above)) })
	floors.Go(func() { check(v.t, v.engine.Run(below)) })
	if v.dmsg != nil {
		floors.Go(func() { check(v.t, v.dmsg.Run(below)) })
		l, err := v.dmsg.Listen(dmsgLinks)
		must(v.t, err)
		floors.Go(func() {
			for {
				st, err := l.AcceptStream()
				if err != nil {
					return
				}
				v.engine.AcceptStream(st, st.Peer().PK)
			}
		})
		select {
		case <-v.dmsg.Ready():
		case <-time.After(patience):
			v.t.Fatal("dmsg is not ready")
		}
	}
	v.stop = sync.OnceFunc(func() {
		stopAbove()
		manager.Wait()
		v.stack.Close()
		stopBelow()
		floors.Wait()
		v.session.Close()
		v.forward.Close()
	})
	v.t.Cleanup(v.stop)
}

// ensure is Ensure until it succeeds: a machine that has much else to do may take longer
// than the time-outs of an attempt.
func (v *visor) ensure(pk cipher.PubKey) {
	v.t.Helper()
	eventually(v.t, "there is a link", func() bool { return v.Ensure(testCtx(v.t), pk) == nil })
}

// in makes a member of the deployment that s serves.
func in(id cipher.PubKey, s *services) func(cipher.PubKey) Member {
	return func(pk cipher.PubKey) Member { return s.member(id, pk) }
}

// find returns the transport of that type to pk, the zero Info if there is none.
func (v *visor) find(pk cipher.PubKey, typ string) Info {
	for _, i := range v.List() {
		if i.PK == pk && i.Type == typ {
			return i
		}
	}
	return Info{}
}

// up reports whether such a transport is up.
func (v *visor) up(pk cipher.PubKey, typ string) bool { return v.find(pk, typ).State == StateUp }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func logger(t testing.TB) zerolog.Logger {
	if testing.Verbose() {
		return zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.DebugLevel)
	}
	return zerolog.Nop()
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

func testCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
