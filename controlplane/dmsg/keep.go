package dmsg

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// listLife is how old the list of relays gets, ± 50 %; for AllServers, where a new
	// relay has clients that wait for us, listLifeAll.
	listLife    = 10 * time.Minute
	listLifeAll = time.Minute
	// A list that does not help, or did not come, is asked for again after listFirst,
	// doubled up to listMost, ± 50 %.
	listFirst = time.Second
	listMost  = 30 * time.Second
	// slow is when an attempt to connect has company: another relay is tried too.
	slow = connectHeadStart
	// maxFlights bounds the attempts under way at once.
	maxFlights = 32
	// idleLife is how long a session without streams lives that is not one of those kept.
	idleLife = 2 * time.Minute
	// lingers is how long a draining session without streams lives, for those who go by
	// the entry of before.
	lingers = time.Second
	// moveJitter spreads what clients do that lost their relay at the same moment.
	moveJitter = 250 * time.Millisecond
	// tidyEvery is how often the keeper looks around without a cause.
	tidyEvery = 30 * time.Second
)

// A keeper sees to it that there are as many sessions as there should be. It belongs to
// one goroutine.
type keeper struct {
	c       *Client
	flights map[cipher.PubKey]flight
	landed  chan cipher.PubKey // attempts that have ended
	lists   chan listing       // answers of the discovery

	asking   bool // the discovery is being asked
	askAgain time.Time
	misses   int // answers in a row that did not help
}

// A flight is an attempt to connect.
type flight struct {
	since  time.Time
	cancel context.CancelFunc
}

// A listing is what the discovery says about relays.
type listing struct {
	entries []*disc.Entry
	err     error
}

// keep runs until ctx ends.
func (c *Client) keep(ctx context.Context) {
	k := &keeper{c: c, flights: map[cipher.PubKey]flight{}, landed: make(chan cipher.PubKey), lists: make(chan listing)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			k.ground()
			return
		case <-timer.C:
		case <-c.wake:
			// Whoever lost a relay just now has lost it together with many others.
			select {
			case <-time.After(rand.N(moveJitter)):
			case <-ctx.Done():
			}
		case pk := <-k.landed:
			k.land(pk)
		case l := <-k.lists:
			k.listed(l)
		}
		timer.Reset(k.round(ctx))
	}
}

// round begins what is missing and returns when to look again.
func (k *keeper) round(ctx context.Context) time.Duration {
	missing := k.c.settle()
	again := k.c.tidy(missing == 0)
	if missing == 0 && k.misses > 0 {
		k.misses, k.askAgain = 0, k.later()
	}
	if missing == 0 && k.c.cfg.MinSessions != AllServers {
		for _, f := range k.flights {
			f.cancel()
		}
	} else {
		again = min(again, k.launch(ctx, missing))
	}
	return min(again, k.ask(ctx, missing))
}

// launch begins attempts, until as many are under way as sessions are missing, the slow
// ones not counted, and returns when to look again.
func (k *keeper) launch(ctx context.Context, missing int) (again time.Duration) {
	chosen, again := k.c.relays.choose(func(pk cipher.PubKey) bool {
		_, flying := k.flights[pk]
		return flying || k.c.has(pk)
	})
	if again == 0 {
		again = tidyEvery
	}
	for _, e := range chosen {
		quick := 0
		for _, f := range k.flights {
			if time.Since(f.since) < slow {
				quick++
			}
		}
		if k.c.cfg.MinSessions != AllServers && quick >= missing || len(k.flights) >= maxFlights {
			break
		}
		k.begin(ctx, e.Static)
	}
	if len(k.flights) > 0 {
		again = min(again, slow)
	}
	return again
}

// begin makes an attempt to connect to the relay pk.
func (k *keeper) begin(ctx context.Context, pk cipher.PubKey) {
	fctx, cancel := context.WithCancel(ctx)
	if !k.c.start(func() {
		_, err := k.c.session(fctx, pk)
		if e := k.c.log.Debug(); err != nil && e.Enabled() {
			e.Err(err).Stringer("relay", pk).Msg("relay was not reached")
		}
		select {
		case k.landed <- pk:
		case <-ctx.Done():
		}
	}) {
		cancel()
		return
	}
	k.flights[pk] = flight{time.Now(), cancel}
}

// land takes note of the end of an attempt.
func (k *keeper) land(pk cipher.PubKey) {
	k.flights[pk].cancel()
	delete(k.flights, pk)
}

// ground ends all attempts.
func (k *keeper) ground() {
	for _, f := range k.flights {
		f.cancel()
	}
}

// ask has the discovery asked for relays if that is due, and returns when to look again.
func (k *keeper) ask(ctx context.Context, missing int) time.Duration {
	dir := k.c.cfg.Directory
	if dir == nil || k.asking {
		return tidyEvery
	}
	// What was fine when all sessions stood does not help any more.
	if missing > 0 && k.misses == 0 {
		k.askAgain, k.misses = time.Now(), 1
	}
	if wait := time.Until(k.askAgain); wait > 0 {
		return wait
	}
	k.asking = k.c.start(func() {
		actx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		var l listing
		if k.c.cfg.MinSessions == AllServers {
			l.entries, l.err = dir.AllServers(actx)
		} else {
			l.entries, l.err = dir.AvailableServers(actx)
		}
		select {
		case k.lists <- l:
		case <-ctx.Done():
		}
	})
	return tidyEvery
}

// later is when to ask again where nothing is missing.
func (k *keeper) later() time.Time {
	if k.c.cfg.MinSessions == AllServers {
		return time.Now().Add(jitter(listLifeAll))
	}
	return time.Now().Add(jitter(listLife))
}

// listed takes the discovery's answer.
func (k *keeper) listed(l listing) {
	k.asking = false
	if l.err == nil {
		k.c.relays.list(l.entries)
	} else {
		k.c.log.Warn().Err(l.err).Msg("the discovery names no relays")
	}
	if l.err == nil && k.misses == 0 {
		k.askAgain = k.later()
		return
	}
	k.askAgain = time.Now().Add(jitter(min(listFirst<<min(k.misses, 10), listMost)))
	k.misses++
}

// settle makes kept as many sessions as there should be, and returns how many are
// missing.
func (c *Client) settle() (missing int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := 0
	for _, s := range c.sessions {
		if s.kept {
			kept++
		}
	}
	for _, s := range c.sessions {
		if s.kept || c.cfg.MinSessions != AllServers && kept >= c.cfg.MinSessions {
			continue
		}
		s.kept = true
		kept++
		if n := len(c.left); n > 0 {
			from := c.left[0]
			c.left = c.left[1:]
			c.log.Info().Stringer("from", from).Stringer("to", s.server).Msg("moved to another relay")
			c.events.post(Event{Kind: EventMoved, Server: s.server, Addr: s.addr, From: from})
		}
		poke(c.stale)
		if c.cfg.Directory == nil {
			c.isReady.Do(func() { close(c.ready) })
		}
	}
	if c.cfg.MinSessions == AllServers {
		return max(1-kept, 0)
	}
	return max(c.cfg.MinSessions-kept, 0)
}

// has reports whether there is a session with pk that takes new streams.
func (c *Client) has(pk cipher.PubKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[pk] != nil
}

// tidy ends sessions that nobody needs, and returns when to look again: those opened for
// a dial that have been idle for a while, and those that drain and have no stream left.
// The latter wait until others have taken their place and the entry says so.
func (c *Client) tidy(settled bool) (again time.Duration) {
	var ends []*session
	again = tidyEvery
	c.mu.Lock()
	for s := range c.drained {
		switch wait := lingers - time.Since(s.idle); {
		case s.load() > 0:
		case settled && wait <= 0:
			s.retired = true
			ends = append(ends, s)
		default:
			again = max(min(again, wait), lingers/10)
		}
	}
	for pk, s := range c.sessions {
		switch {
		case s.kept || s.load() > 0:
			s.idle = time.Time{}
		case s.idle.IsZero():
			s.idle = time.Now()
		case time.Since(s.idle) >= idleLife:
			s.retired = true
			delete(c.sessions, pk)
			c.drained[s] = struct{}{}
			ends = append(ends, s)
		}
	}
	c.mu.Unlock()
	for _, s := range ends {
		c.start(func() { s.mux.Close() })
	}
	return again
}
