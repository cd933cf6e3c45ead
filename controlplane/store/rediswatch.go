package store

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

// Watch implements Store. The first Watcher makes this store subscribe to the
// notices; they are lost with the connection, which then shows as Lost and Resync.
func (r *Redis) Watch(prefix string) (*Watcher, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil, ErrClosed
	}
	w, err := r.hub.watch(prefix)
	if err != nil {
		return nil, err
	}
	if !r.listen {
		r.listen = true
		r.wg.Go(r.receive)
	}
	return w, nil
}

// receive subscribes, again and again, until the store is closed.
func (r *Redis) receive() {
	ctx := rueidis.WithOnSubscriptionHook(r.ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" {
			r.hub.set(true)
		}
	})
	for r.ctx.Err() == nil {
		err := r.client.Receive(ctx, r.client.B().Subscribe().Channel(r.channel).Build(), func(m rueidis.PubSubMessage) {
			if c, ok := parseNotice(m.Message); ok {
				r.hub.notify(c)
			}
		})
		r.hub.set(false)
		if r.ctx.Err() == nil {
			r.o.Log.Warn().Err(err).Msg("redis: notices of changes are interrupted")
		}
		pause(r.ctx, 100*time.Millisecond+rand.N(200*time.Millisecond))
	}
}

// parseNotice reads what the scripts publish.
func parseNotice(m string) (Change, bool) {
	if len(m) < 9 || len(m) > 8+MaxKey {
		return Change{}, false
	}
	c := Change{Kind: Written, Key: m[8:], Version: binary.BigEndian.Uint64([]byte(m[:8]))}
	if c.Version == 0 {
		c.Kind = Deleted
	}
	return c, true
}

// sweep clears away what expired items leave behind, until the store is closed.
// Every instance does it, at its own times.
func (r *Redis) sweep() {
	failing := false
	for pause(r.ctx, r.o.Sweep/2+rand.N(r.o.Sweep)) {
		var err error
		for n := range redisShards {
			if e := r.sweepShard(r.ctx, n); e != nil {
				err = e
			}
		}
		if r.ctx.Err() == nil && (err != nil) != failing {
			failing = err != nil
			if failing {
				r.o.Log.Warn().Err(err).Msg("redis is in trouble")
			} else {
				r.o.Log.Info().Msg("redis works again")
			}
		}
	}
}

// pause waits for d and says whether ctx lives on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
