package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// upgradeGrace is how long a dmsg link stays beside a new direct one, for what is under
// way in it.
const upgradeGrace = time.Second

// suspectEvery is how often, at most, relays are checked because a link died.
const suspectEvery = 5 * time.Second

// A transport is what the Manager knows about one link, up or not. Guarded by Manager.mu.
type transport struct {
	key
	id       deployment.TransportID
	label    string
	up       bool
	outbound bool
	since    time.Time // when it came up; or went down
	err      error     // why it is down
	settling bool
	why      string                                  // it is not registered
	signed   map[*member]*deployment.SignedTransport // by both edges
	settled  map[*member]bool                        // since it has been up
}

// track returns the transport with that key, a new one if there is none. mu is held.
func (m *Manager) track(k key) *transport {
	t := m.transports[k]
	if t == nil {
		t = &transport{
			key: k, id: deployment.NewTransportID(m.pk, k.pk, k.typ.String()), since: time.Now(),
			signed: map[*member]*deployment.SignedTransport{}, settled: map[*member]bool{},
		}
		m.transports[k] = t
	}
	return t
}

// linkChanged takes note of a link that came up or went down.
func (m *Manager) linkChanged(k key, outbound, up bool, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !up && m.transports[k] == nil { // removed
		m.shout()
		return
	}
	t := m.track(k)
	t.up, t.outbound, t.since, t.err = up, outbound, time.Now(), why
	m.shout()
	if m.ended {
		return
	}
	if up {
		clear(t.settled)
	}
	if up && outbound && !t.settling {
		t.settling = true
		m.wg.Go(func() { m.settle(t) })
	}
	switch {
	case up: // either may be the later one
		m.wg.Go(func() { m.upgraded(k.pk) })
	case k.typ == link.DMSG:
	case time.Since(m.suspected) >= suspectEvery:
		// A NAT that has forgotten this link may have forgotten the connections to relays
		// as well, by which the next one is agreed on.
		m.suspected = time.Now()
		for _, c := range m.carriers {
			m.wg.Go(func() { c.check(checkWithin) })
		}
	}
	for _, d := range m.members {
		d.kick()
	}
}

// isUp reports whether such a link, or any if typ is 0, is up. mu is held.
func (m *Manager) isUp(pk cipher.PubKey, typ link.Type) bool {
	if typ == 0 {
		up, _ := m.anyUp(pk)
		return up
	}
	t := m.transports[key{pk, typ}]
	return t != nil && t.up
}

// anyUp reports whether there is a link to pk that is up, direct whether one that is not
// relayed is. mu is held.
func (m *Manager) anyUp(pk cipher.PubKey) (up, direct bool) {
	direct = m.isUp(pk, link.STCPR) || m.isUp(pk, link.SUDPH)
	return direct || m.isUp(pk, link.DMSG), direct
}

// await waits until such a link is up.
func (m *Manager) await(ctx context.Context, pk cipher.PubKey, typ link.Type) error {
	for {
		up, news := m.state(pk, typ)
		if up {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("the link did not come up: %w", context.Cause(ctx))
		}
	}
}

// connect brings a link up, or gives it back to the engine's own attempts if it is to be
// kept, and else leaves none behind.
func (m *Manager) connect(ctx context.Context, pk cipher.PubKey, typ link.Type, addr netip.AddrPort) error {
	wait, err := m.plane.begin(pk, typ, addr)
	if err != nil {
		return err
	}
	if wait != nil {
		if err = wait(ctx); err == nil {
			// The engine is ahead of what it has told.
			ctx, cancel := context.WithTimeout(ctx, linkTimeout)
			defer cancel()
			err = m.await(ctx, pk, typ)
		}
	} else {
		err = m.await(ctx, pk, typ)
	}
	if err == nil {
		return nil
	}
	m.mu.Lock()
	up, kept := m.isUp(pk, typ), m.keeps(pk, typ)
	m.mu.Unlock()
	switch {
	case up:
		return nil
	case !kept:
		m.plane.drop(pk, typ)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from %s in time", where(typ, addr))
	}
	return err
}

func where(typ link.Type, addr netip.AddrPort) string {
	if typ == link.DMSG {
		return "the other visor"
	}
	return addr.String()
}

// upgraded drops the dmsg link to pk that a direct one has made superfluous, if it is ours
// and nobody has asked for that very link.
func (m *Manager) upgraded(pk cipher.PubKey) {
	if !sleep(m.life, upgradeGrace) {
		return
	}
	m.mu.Lock()
	_, direct := m.anyUp(pk)
	t := m.transports[key{pk, link.DMSG}]
	_, asked := m.wants[want{pk, link.DMSG}]
	drop := direct && t != nil && t.up && t.outbound && !asked && !m.settings.NoUpgrade
	if drop && len(m.attemptsAt(pk)) == 0 {
		delete(m.transports, t.key)
	}
	m.mu.Unlock()
	if drop {
		m.log.Info().Stringer("pk", pk).Msg("link over dmsg gives way to a direct one")
		m.plane.drop(pk, link.DMSG)
	}
}

// sleep waits for d and says whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
