package dmsg

import (
	"context"
	"sync"
	"time"
)

// Check asks every relay with which there is a session for a sign of life, and ends the
// sessions that show none within that time; others take their place at once, also of
// relays that failed before. It is for those who know that the network has changed, or
// that the machine slept: the client itself notices after Config.KeepAlive and Patience.
// It returns when all have answered or are gone.
func (c *Client) Check(within time.Duration) {
	c.relays.forgive()
	poke(c.wake)
	var wg sync.WaitGroup
	for _, s := range c.all() {
		wg.Go(func() { s.probe(within) })
	}
	wg.Wait()
}

// forgive forgets failures: they were those of another network.
func (r *relays) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.record {
		if rec.failures > 0 {
			rec.failures, rec.until = 0, time.Time{}
		}
	}
}

// probe measures the round trip, and ends a session that does not answer within that
// time: after a change of network the system may take minutes to notice.
func (s *session) probe(within time.Duration) {
	ctx, cancel := context.WithTimeout(s.c.ctx, within)
	defer cancel()
	rtt, err := s.mux.Ping(ctx)
	switch {
	case err == nil:
		s.rtt.Store(int64(rtt))
	case s.c.ctx.Err() == nil:
		s.c.log.Warn().Err(err).Stringer("relay", s.server).Msg("relay does not answer")
		s.mux.Close()
	}
}
