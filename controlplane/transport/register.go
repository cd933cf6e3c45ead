package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/link"
)

const (
	// beatEvery is how often the discovery hears that the transports live, ± 5 %. It
	// forgets them after 180 s.
	beatEvery = 60 * time.Second
	// downGrace is how long a link may be down before its transport is taken out.
	downGrace = 5 * time.Second
	// quarantine is how long nothing is registered where another visor has the same key.
	quarantine = 60 * time.Second
	// callTimeout bounds a call of a service.
	callTimeout = 10 * time.Second
	// farewell is what all services together have to take our entries out at the end.
	farewell = 2 * time.Second
	// Services that fail are asked again after serviceFirst, doubled up to serviceMost,
	// ± 50 %.
	serviceFirst = 500 * time.Millisecond
	serviceMost  = 30 * time.Second
	// maxTransports is what a discovery takes from one key.
	maxTransports = 512
)

// A member is a deployment, and how the visor stands with it. What mutable it has is
// guarded by Manager.mu.
type member struct {
	Member
	m       *Manager
	changed chan struct{} // transports are not what the discovery knows
	moved   chan struct{} // addresses are not what the resolver knows
	again   chan struct{} // what failed may work now
	lack    chan struct{} // automatic transports are missing

	registered  map[deployment.TransportID]bool      // false: must be registered again
	refused     map[deployment.TransportID]time.Time // when to try again
	beaten      time.Time
	quarantined string
	tpdErr      error
	bound       deployment.Bound
	arErr       error
	listed      bool
	sdErr       error
}

func newMember(m *Manager, c Member) *member {
	return &member{
		Member: c, m: m, changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), again: make(chan struct{}, 1), lack: make(chan struct{}, 1),
		registered: map[deployment.TransportID]bool{}, refused: map[deployment.TransportID]time.Time{},
	}
}

// kick has the registration look at what has changed.
func (d *member) kick() { poke(d.changed) }

// poke sets a signal; one that is set stays so.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// trouble says why nothing is registered. mu is held.
func (d *member) trouble() string {
	switch {
	case d.quarantined != "":
		return d.quarantined
	case d.tpdErr != nil:
		return d.tpdErr.Error()
	}
	return "not registered yet"
}

// A registry is the state of a registration, of its one goroutine.
type registry struct {
	failures int
	until    time.Time // nothing is asked before
	beat     time.Time // when the next heartbeat is due
}

// register keeps the transports in the discovery until ctx ends. After an outage the next
// heartbeat names what the discovery has lost.
func (d *member) register(ctx context.Context) {
	if d.TPD == nil {
		return
	}
	r := &registry{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(d.round(ctx, r))
		select {
		case <-ctx.Done():
			return
		case <-d.changed:
		case <-d.again:
			*r = registry{} // the heartbeat too: others may have missed the last
		case <-timer.C:
		}
	}
}

// round does what is due and returns when to look again.
func (d *member) round(ctx context.Context, r *registry) time.Duration {
	now := time.Now()
	if wait := r.until.Sub(now); wait > 0 {
		return wait
	}
	add, gone, again := d.diff(now)
	err := d.call(ctx, func(ctx context.Context) error {
		for _, id := range gone {
			err := d.TPD.Delete(ctx, id)
			if err != nil && !errors.Is(err, deployment.ErrNotFound) && !errors.Is(err, deployment.ErrForbidden) {
				return err
			}
			d.forget(id)
		}
		if len(add) == 0 {
			return nil
		}
		reply, err := d.TPD.Register(ctx, d.m.cfg.Instance, add)
		if err == nil {
			d.took(add, reply)
		}
		return err
	})
	if stats := d.stats(); err == nil && len(stats) > 0 && !r.beat.After(now) {
		err = d.call(ctx, func(ctx context.Context) error {
			unknown, err := d.TPD.Heartbeat(ctx, d.m.cfg.Instance, stats)
			if err == nil {
				d.beatTaken(unknown)
				r.beat = time.Now().Add(beatEvery*9/10 + jitter(beatEvery/10))
				if len(unknown) > 0 {
					d.kick()
				}
			}
			return err
		})
	}
	if ctx.Err() != nil {
		return time.Minute
	}
	wait := d.judge(r, err)
	if wait > 0 {
		r.until = time.Now().Add(wait)
		return wait
	}
	if until := time.Until(r.beat); until > 0 {
		again = min(again, until)
	}
	return max(again, 10*time.Millisecond)
}

// call runs f with the time that a service has.
func (d *member) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx)
}

// judge takes note of how a round went, and returns how long to pause.
func (d *member) judge(r *registry, err error) time.Duration {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.tpdErr = err
	switch {
	case err == nil:
		if d.quarantined != "" {
			d.m.log.Info().Str("deployment", d.Name).Msg("no other visor has our key any more")
		}
		r.failures, d.quarantined = 0, ""
		return 0
	case errors.Is(err, deployment.ErrDuplicateKey):
		if d.quarantined == "" {
			d.m.log.Error().Err(err).Str("deployment", d.Name).
				Msg("another visor runs with this visor's key: nothing is registered; give one of them another key")
		}
		d.quarantined = fmt.Sprintf("another visor runs with this key, so nothing is registered until it stops: %v", err)
		clear(d.registered)
		return quarantine
	}
	if r.failures == 0 {
		d.m.log.Warn().Err(err).Str("deployment", d.Name).Msg("transport discovery does not take our transports")
	}
	pause := backOff(serviceFirst, serviceMost, r.failures)
	r.failures++
	return pause
}

// diff returns what to register and what to take out, and when to look again.
func (d *member) diff(now time.Time) (add []deployment.SignedTransport, gone []deployment.TransportID, again time.Duration) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	again = time.Minute
	alive := map[deployment.TransportID]bool{}
	for _, t := range d.m.transports {
		e := t.signed[d]
		if e == nil {
			continue
		}
		if !t.up {
			if wait := downGrace - now.Sub(t.since); wait > 0 {
				alive[t.id] = true
				again = min(again, wait)
			}
			continue
		}
		alive[t.id] = true
		if wait := d.refused[t.id].Sub(now); wait > 0 {
			again = min(again, wait)
		} else if !d.registered[t.id] && len(add)+len(d.registered) < maxTransports {
			add = append(add, *e)
		}
	}
	for id := range d.registered {
		if !alive[id] {
			gone = append(gone, id)
		}
	}
	for id, at := range d.refused {
		if at.Before(now) {
			delete(d.refused, id)
		}
	}
	return add, gone, again
}

func (d *member) forget(id deployment.TransportID) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	delete(d.registered, id)
}

// took takes note of what the discovery took.
func (d *member) took(add []deployment.SignedTransport, reply deployment.RegisterReply) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	for _, e := range add {
		d.registered[e.ID] = true
	}
	for _, r := range reply.Refused {
		delete(d.registered, r.ID)
		d.refused[r.ID] = time.Now().Add(jitter(quarantine))
		d.m.log.Warn().Str("deployment", d.Name).Stringer("id", r.ID).Str("code", string(r.Code)).Msg("transport discovery refuses a transport: " + r.Text)
		for _, t := range d.m.transports {
			if t.id == r.ID {
				t.why = r.Text
			}
		}
	}
}

// stats are the figures of what is registered.
func (d *member) stats() []deployment.TransportStats {
	links := map[key]link.Info{}
	for _, l := range d.m.plane.look() {
		links[key{l.Peer, l.Type}] = l
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	var all []deployment.TransportStats
	for k, t := range d.m.transports {
		if !d.registered[t.id] || !t.up {
			continue
		}
		l := links[k]
		all = append(all, deployment.TransportStats{
			ID: t.id, RTTMicros: l.RTT.Microseconds(), LossPPM: l.LossPPM, Mbps: l.Mbps, SentBytes: l.TxBytes, RecvBytes: l.RxBytes,
		})
	}
	return all
}

// beatTaken takes note of a heartbeat.
func (d *member) beatTaken(unknown []deployment.TransportID) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.beaten = time.Now()
	for _, id := range unknown {
		d.registered[id] = false
	}
}

// farewell takes what is registered out of all deployments.
func (m *Manager) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	var group sync.WaitGroup
	for _, d := range m.members {
		group.Go(func() { d.leave(ctx) })
	}
	group.Wait()
}

// leave takes the visor out of the deployment's services.
func (d *member) leave(ctx context.Context) {
	d.m.mu.Lock()
	var ids []deployment.TransportID
	for id := range d.registered {
		ids = append(ids, id)
	}
	bound, listed, alone := d.bound.RemoteAddr.IsValid(), d.listed, d.quarantined == ""
	d.m.mu.Unlock()
	if !alone {
		return // what is there is the other visor's
	}
	var errs []error
	if d.SD != nil && listed {
		errs = append(errs, d.SD.Delete(ctx, d.m.serviceAddr(), deployment.ServiceVisor))
	}
	if d.AR != nil && bound {
		errs = append(errs, d.AR.Unbind(ctx))
	}
	for _, id := range ids {
		errs = append(errs, d.TPD.Delete(ctx, id))
	}
	if err := errors.Join(errs...); err != nil {
		d.m.log.Debug().Err(err).Str("deployment", d.Name).Msg("entries stay until they expire")
	}
}
