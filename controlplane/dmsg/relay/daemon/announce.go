package daemon

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	callTimeout  = 10 * time.Second // of one update
	firstRetry   = time.Second
	changeRhythm = 5 * time.Second // between updates because sessions came or went
)

// An announcer keeps the relay's entry in the discovery: at once, then at each
// interval, and a few seconds after the number of sessions has changed. While the
// discovery does not answer it tries again, slower and slower up to the interval.
// The relay serves all the same.
type announcer struct {
	directory  disc.Directory
	sk         cipher.SecKey
	address    string
	passphrase string
	capacity   int
	sessions   func() int // now
	interval   time.Duration
	log        zerolog.Logger

	listed bool // the last update went well
}

// run announces until ctx ends, and then takes the entry back.
func (a *announcer) run(ctx context.Context) {
	retry := firstRetry
	for {
		told := a.sessions()
		wait := a.interval
		if a.update(ctx, a.capacity-told) {
			retry = firstRetry
		} else {
			wait = min(retry, a.interval)
			retry = 2 * wait
		}
		if !a.pause(ctx, jitter(wait), told) {
			break
		}
	}
	a.withdraw(context.WithoutCancel(ctx))
}

// pause waits until the next update is due. false means that ctx has ended.
func (a *announcer) pause(ctx context.Context, wait time.Duration, told int) bool {
	due := time.NewTimer(wait)
	defer due.Stop()
	look := time.NewTicker(changeRhythm)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-due.C:
			return true
		case <-look.C:
			if a.listed && a.sessions() != told {
				return true
			}
		}
	}
}

// update publishes the entry with room for that many more sessions.
func (a *announcer) update(ctx context.Context, room int) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := disc.Update(ctx, a.directory, a.sk, func(e *disc.Entry) {
		e.Server = &disc.Server{Address: a.address, AvailableSessions: max(0, room), ServerType: a.passphrase}
	})
	if was := a.listed; was != (err == nil) || !was {
		a.listed = err == nil
		if err != nil {
			a.log.Warn().Err(err).Msg("the discovery does not list this relay; clients that know it can still connect")
		} else {
			a.log.Info().Str("address", a.address).Msg("listed in the discovery")
		}
	}
	return err == nil
}

// withdraw takes the entry back; deployed discoveries may refuse that, and forget it
// two minutes later.
func (a *announcer) withdraw(ctx context.Context) {
	if !a.listed {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout/2)
	defer cancel()
	e, err := disc.Update(ctx, a.directory, a.sk, func(e *disc.Entry) {
		e.Server = &disc.Server{Address: a.address, ServerType: a.passphrase}
	})
	if err == nil {
		err = a.directory.Delete(ctx, e)
	}
	if err != nil {
		a.log.Info().Err(err).Msg("could not take the entry in the discovery back; it expires by itself")
	}
}

// jitter returns d give or take a tenth, so that relays that were started together
// do not stay in step.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}
