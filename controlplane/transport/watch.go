package transport

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	// checkWithin is how long a link has to show that it has survived a change of network.
	checkWithin = 2 * time.Second
	// nap is how far the wall clock must run ahead of the monotonic one, which stands still
	// while the machine sleeps, for a sleep to be assumed.
	nap = 5 * time.Second
	// napEvery is how often the clocks are compared.
	napEvery = time.Second
	// pollEvery is how often addresses are compared where the system does not tell.
	pollEvery = 3 * time.Second
	// calm is how long changes are waited for that come together with the first one.
	calm = 200 * time.Millisecond
)

// NetworkChanged has everything looked at now: links and relays that show no sign of life
// within that time are given up, addresses and registrations are told again, and what is
// down is tried for at once. The Manager does so itself when the system tells of a change,
// or wakes up.
func (m *Manager) NetworkChanged(within time.Duration) {
	if f := m.cfg.NetworkChanged; f != nil {
		f()
	}
	m.plane.check(within)
	m.reflector.Forget()
	for _, c := range m.carriers {
		m.start(func() { c.check(within) })
	}
	m.mu.Lock()
	for _, w := range m.wants {
		w.failures, w.next, w.upgrades, w.upgrade = 0, time.Time{}, 0, time.Now()
	}
	clear(m.shunned)
	m.shout()
	m.mu.Unlock()
	for _, d := range m.members {
		poke(d.moved)
		poke(d.again)
		poke(d.lack)
		d.kick()
	}
}

// watch calls NetworkChanged when the machine's addresses or routes have changed, or when
// it has slept, until ctx ends.
func (m *Manager) watch(ctx context.Context) {
	told := make(chan struct{}, 1)
	every := pollEvery
	if err := subscribe(ctx, told); err == nil {
		every *= 10 // for what the system forgot to tell
	} else {
		m.log.Debug().Err(err).Msg("the system does not tell of changes of the network")
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	woken := make(chan struct{}, 1)
	m.start(func() { watchClock(ctx, wallClock, func() { poke(woken) }) })
	last := fingerprint()
	for {
		awake := false
		select {
		case <-ctx.Done():
			return
		case <-woken:
			awake = true
		case <-told:
			if !sleep(ctx, calm) {
				return
			}
		case <-poll.C:
		}
		now := fingerprint()
		if now == last && !awake {
			continue
		}
		last = now
		m.log.Info().Bool("slept", awake).Msg("the network has changed")
		m.NetworkChanged(checkWithin)
	}
}

// wallClock is the time of day; time.Now alone carries the monotonic clock along.
func wallClock() time.Time { return time.Now().Round(0) }

// watchClock calls woken when wall has run ahead of the time that has passed for this
// process, until ctx ends. A clock that is set right does that too; no harm is done.
func watchClock(ctx context.Context, wall func() time.Time, woken func()) {
	for {
		began, at := time.Now(), wall()
		if !sleep(ctx, napEvery) {
			return
		}
		if wall().Sub(at)-time.Since(began) > nap {
			woken()
		}
	}
}

// fingerprint describes what matters of the machine's network: global addresses and
// default routes.
func fingerprint() string {
	var all []string
	ifaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				all = append(all, fmt.Sprintf("%d %s", i.Index, n))
			}
		}
	}
	all = append(all, defaultRoutes()...)
	slices.Sort(all)
	return strings.Join(all, "\n")
}
