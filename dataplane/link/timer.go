package link

import (
	"context"
	"errors"
	"time"
)

// tickEvery is how often links are looked after. Each look costs well below a
// microsecond for a link that wants nothing.
const tickEvery = 100 * time.Millisecond

var (
	errSilent  = errors.New("link: the neighbour has fallen silent")
	errExpired = errors.New("link: the keys are too old, and no handshake got through")
)

// runTimer looks after all links until ctx ends.
func (e *Engine) runTimer(ctx context.Context) error {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := e.tick()
		kick := false
		to := e.tooBig.Swap(nil)
		for _, l := range e.Links() {
			if to != nil {
				l.pathShrank(*to)
			}
			if e.lookAfter(l, now) {
				kick = true
			}
		}
		if kick {
			e.shake.kick()
		}
		e.shake.sweepHalfOpen(now)
	}
}

// lookAfter does what is due on one link and reports whether it wants a UDP
// handshake.
func (e *Engine) lookAfter(l *Link, now int64) (handshake bool) {
	l.keys.Sweep(time.Duration(now))
	if !l.Up() {
		l.despair(now)
		if l.typ != SUDPH {
			l.connectStreamDue(now)
			return false
		}
		return l.wantsHandshake(now)
	}
	silent := now - l.lastRecv.Load()
	switch {
	case silent > deadAfter:
		l.died(errSilent)
		return false
	case l.keys.SendEpoch(time.Duration(now)) == nil:
		l.died(errExpired)
		return false
	}
	l.mu.Lock()
	due := now >= l.state.probeNext && silent > probeAfter || now >= l.state.rttNext
	again, failed := l.state.check.due(now, l.state.probeLast)
	if now-l.state.figures.at >= figuresEvery {
		l.state.figures.look(now, l.rxExpected.Load(), l.rxPackets.Load(), l.rxBytes.Load())
	}
	l.mu.Unlock()
	if failed {
		l.died(errUnechoed)
		return false
	}
	if due || again {
		l.sendProbe(now)
	}
	if l.typ != SUDPH {
		l.rekeyStreamDue(now)
		return false
	}
	l.checkPath(now)
	l.probeMTU(now)
	return l.wantsHandshake(now)
}
