package dmsg

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// refreshEvery is how often an entry is published that has not changed, ± 10 %.
	// Discoveries forget one after an hour.
	refreshEvery = 5 * time.Minute
	// An attempt to publish is repeated after publishFirst, doubled up to publishMost,
	// ± 50 %.
	publishFirst = time.Second
	publishMost  = 30 * time.Second
	// gather is how long changes are waited for that come together with the first one.
	gather = 100 * time.Millisecond
	// farewell is how long the discovery has to take the entry out.
	farewell = 2 * time.Second
)

// A publisher keeps the client's entry in the discovery. It belongs to one goroutine.
type publisher struct {
	c        *Client
	last     *disc.Entry // as published; nil: never
	failures int         // in a row
	hidden   bool        // the failure has been told
}

// publish runs until ctx ends, and takes the entry out then.
func (c *Client) publish(ctx context.Context) {
	if c.cfg.Directory == nil {
		return
	}
	p := &publisher{c: c}
	defer p.withdraw()
	timer := time.NewTimer(refreshEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.stale:
			if p.last != nil {
				select {
				case <-time.After(gather):
				case <-ctx.Done():
				}
				select {
				case <-c.stale:
				default:
				}
			}
		}
		timer.Reset(p.update(ctx))
	}
}

// update publishes the entry and returns when to do it again.
func (p *publisher) update(ctx context.Context) time.Duration {
	relays := p.c.kept()
	if len(relays) == 0 {
		return refreshEvery // nothing to say; the next session is news
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	e, err := disc.Update(ctx, p.c.cfg.Directory, p.c.key.SecKey(), func(e *disc.Entry) {
		e.Client = &disc.Client{DelegatedServers: relays}
		e.ClientType = p.c.cfg.ClientType
	})
	if err != nil {
		return p.failed(ctx, err)
	}
	if p.last == nil || p.hidden {
		p.c.log.Info().Int("relays", len(relays)).Msg("entry is in the discovery")
		p.c.events.post(Event{Kind: EventPublished})
	}
	p.last, p.failures, p.hidden = e, 0, false
	p.c.list(relays)
	p.c.isReady.Do(func() { close(p.c.ready) })
	return refreshEvery*9/10 + rand.N(refreshEvery/5)
}

// failed takes note of a failure and returns when to try again.
func (p *publisher) failed(ctx context.Context, err error) time.Duration {
	again := jitter(min(publishFirst<<min(p.failures, 10), publishMost))
	p.failures++
	if context.Cause(ctx) == context.Canceled { //nolint:errorlint // the client's own end, not a time-out
		return again
	}
	p.c.log.Warn().Err(err).Dur("again_in", again).Msg("entry was not published")
	if !p.hidden {
		p.hidden = true
		p.c.events.post(Event{Kind: EventHidden, Err: err})
	}
	return again
}

// list notes that the discovery has an entry with these relays.
func (c *Client) list(relays []cipher.PubKey) {
	all := c.all()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range all {
		s.listed = slices.Contains(relays, s.server)
	}
}

// withdraw takes the entry out of the discovery, so that nobody dials who cannot be
// reached any more.
func (p *publisher) withdraw() {
	if p.last == nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.c.ctx, farewell)
	defer cancel()
	e := p.last.Clone()
	e.Sequence++
	e.Timestamp = max(time.Now().UnixNano(), e.Timestamp+1)
	err := e.Sign(p.c.key.SecKey())
	if err == nil {
		err = p.c.cfg.Directory.Delete(ctx, e)
	}
	if err != nil {
		p.c.log.Warn().Err(err).Msg("entry stays in the discovery until it expires")
	}
}

// kept returns the relays of the kept sessions, in the order of their keys; of more than
// an entry may name, those of the oldest sessions. With AllServers anybody can make them
// many, but not older.
func (c *Client) kept() []cipher.PubKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*session
	for _, s := range c.sessions {
		if s.kept {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *session) int { return a.since.Compare(b.since) })
	var pks []cipher.PubKey
	for _, s := range all[:min(len(all), disc.MaxDelegated)] {
		pks = append(pks, s.server)
	}
	slices.SortFunc(pks, cipher.PubKey.Compare)
	return pks
}
