package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

var errUnreachable = errors.New("nobody answered")

// A fakePlane is a link engine in which a link comes up after 10 ms if its address, or for
// dmsg its key, can be reached. Like the real one it tries again while it keeps a link.
type fakePlane struct {
	m *Manager

	mu      sync.Mutex
	reach   map[netip.AddrPort]bool
	relayed map[cipher.PubKey]bool
	silent  netip.AddrPort // where nobody says anything
	links   map[key]*fakeLink
	begun   int
	checked int
}

type fakeLink struct {
	addr netip.AddrPort
	up   bool
}

func newFakePlane(m *Manager) *fakePlane {
	return &fakePlane{m: m, reach: map[netip.AddrPort]bool{}, relayed: map[cipher.PubKey]bool{}, links: map[key]*fakeLink{}}
}

func (p *fakePlane) begin(pk cipher.PubKey, typ link.Type, addr netip.AddrPort) (func(context.Context) error, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun++
	k := key{pk, typ}
	l := p.links[k]
	if l == nil {
		l = &fakeLink{}
		p.links[k] = l
	}
	l.addr = addr
	return func(ctx context.Context) error {
		p.mu.Lock()
		silent := p.silent == addr && addr.IsValid()
		p.mu.Unlock()
		if silent {
			<-ctx.Done()
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return context.Cause(ctx)
		}
		p.mu.Lock()
		ok := p.reach[addr] || typ == link.DMSG && p.relayed[pk]
		change := ok && !l.up
		l.up = ok
		p.mu.Unlock()
		if !ok {
			return errUnreachable
		}
		if change {
			p.m.linkChanged(k, true, true, nil)
		}
		return nil
	}, nil
}

func (p *fakePlane) drop(pk cipher.PubKey, typ link.Type) {
	p.mu.Lock()
	l := p.links[key{pk, typ}]
	delete(p.links, key{pk, typ})
	p.mu.Unlock()
	if l != nil && l.up {
		p.m.linkChanged(key{pk, typ}, true, false, nil)
	}
}

// lose takes a link down, and its address away.
func (p *fakePlane) lose(pk cipher.PubKey, typ link.Type) {
	p.mu.Lock()
	l := p.links[key{pk, typ}]
	l.up = false
	delete(p.reach, l.addr)
	p.mu.Unlock()
	p.m.linkChanged(key{pk, typ}, true, false, link.ErrLost)
}

func (p *fakePlane) set(addr string, reachable bool) netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := netip.MustParseAddrPort(addr)
	p.reach[a] = reachable
	return a
}

func (p *fakePlane) count() (begun, links int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun, len(p.links)
}

// mute makes the visor at addr say nothing at all.
func (p *fakePlane) mute(addr netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = addr
}

func (p *fakePlane) checks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.checked
}

func (p *fakePlane) look() (all []link.Info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, l := range p.links {
		all = append(all, link.Info{Peer: k.pk, Type: k.typ, Outbound: true, Up: l.up, RTT: time.Millisecond})
	}
	return all
}

func (p *fakePlane) expect(cipher.PubKey, bool)             {}
func (p *fakePlane) check(time.Duration)                    { p.mu.Lock(); defer p.mu.Unlock(); p.checked++ }
func (p *fakePlane) udp() netip.AddrPort                    { return netip.AddrPort{} }
func (p *fakePlane) tcp() netip.AddrPort                    { return netip.MustParseAddrPort("127.0.0.1:7777") }
func (p *fakePlane) WriteSTUN([]byte, netip.AddrPort) error { return nil }

// A deadOverlay has nobody in it: settlement is not these tests' concern.
type deadOverlay struct{}

func (deadOverlay) Listen(uint16) (net.Listener, error) { return nil, errUnreachable }
func (deadOverlay) Dial(context.Context, cipher.PubKey, uint16) (net.Conn, error) {
	return nil, errUnreachable
}

// A bubble is one Manager over fakes, with a fake clock.
type bubble struct {
	*Manager
	plane *fakePlane
	end   func()
}

// inBubble runs f with a Manager in a deployment that s serves. Settlement is by
// sign.
func inBubble(t *testing.T, s Settings, f func(t *testing.T, b *bubble, sv *services)) {
	synctest.Test(t, func(t *testing.T) {
		sv := newServices()
		pk, sk := cipher.GenerateKeyPair()
		id, _ := cipher.GenerateKeyPair()
		m, err := New(Config{SecKey: sk, Instance: deployment.NewInstance(time.Now()), Members: []Member{sv.member(id, pk)}, Settings: s, Log: zerolog.Nop()})
		must(t, err)
		b := &bubble{Manager: m, plane: newFakePlane(m)}
		m.plane, m.overlay, m.deaf = b.plane, deadOverlay{}, true
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		b.end = sync.OnceFunc(func() { cancel(); <-done })
		defer b.end()
		synctest.Wait()
		f(t, b, sv)
	})
}

// neighbour makes a visor that can be reached at addr.
func (b *bubble) neighbour(sv *services, addr string) (cipher.PubKey, cipher.SecKey) {
	pk, sk := cipher.GenerateKeyPair()
	a := b.plane.set(addr, true)
	sv.mu.Lock()
	defer sv.mu.Unlock()
	sv.records[pk] = deployment.Record{RemoteAddr: a}
	return pk, sk
}

// sign settles the STCPR transport to a neighbour, as it would.
func (b *bubble) sign(t *testing.T, pk cipher.PubKey, sk cipher.SecKey) deployment.TransportID {
	t.Helper()
	d := b.members[0]
	e, err := b.entry(pk, link.STCPR, LabelUser)
	must(t, err)
	sig, err := cipher.Sign(sk, e.SignedBytes())
	must(t, err)
	e, err = b.countersigned(e, pk, sig)
	must(t, err)
	b.mu.Lock()
	tr := b.transports[key{pk, link.STCPR}]
	b.mu.Unlock()
	b.keepSigned(tr, d, e)
	synctest.Wait()
	return e.ID
}

// isListed reports whether by has told of a transport.
func (s *services) isListed(id deployment.TransportID, by cipher.PubKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[id][by]
}
