package transport

import (
	"math/rand/v2"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

const (
	// A lost transport is tried for at once, then after retryFirst, doubled up to
	// retryMost, ± 50 %.
	retryFirst = time.Second
	retryMost  = 30 * time.Second
	// A relayed link is tried to be replaced after upgradeFirst, doubled up to upgradeMost,
	// ± 50 %.
	upgradeFirst = 15 * time.Second
	upgradeMost  = 10 * time.Minute
	// demandLife is for how long a lost link is tried for that somebody has dialled through
	// once.
	demandLife = 2 * time.Minute
	// autoFailures is how many attempts in a row an automatic transport has before another
	// neighbour takes its place.
	autoFailures = 3
	// steady is how long a link must have been up for its failures to be forgotten.
	steady = 10 * time.Second
	// forgotten is when a transport that is down and that nobody wants is not listed any
	// more.
	forgotten = 10 * time.Second
)

// A want names what is wanted: a link of one type, or any if it is 0.
type want struct {
	pk  cipher.PubKey
	typ link.Type
}

// A wanted says why, and how it goes. Guarded by Manager.mu.
type wanted struct {
	user       bool // by Add
	persistent bool // by Add, or by the settings
	auto       bool
	demand     bool // by Ensure: for a while
	label      string
	addr       string // STCPR: where, if a user said so

	lost     time.Time // when it was first seen to be down; zero: it is up
	failures int
	next     time.Time // when to try again
	upgrades int
	upgrade  time.Time // when to try for a direct link; zero: not thought of
}

// jitter returns d ± 50 %.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// backOff returns the pause after that many failures.
func backOff(first, most time.Duration, failures int) time.Duration {
	return jitter(min(first<<min(failures, 16), most))
}

// demand notes that somebody uses a link to pk, of whatever type.
func (m *Manager) demand(pk cipher.PubKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.wants[want{pk, 0}]
	if w == nil {
		w = &wanted{label: LabelUser}
		m.wants[want{pk, 0}] = w
	}
	w.demand = true
	if !w.lost.IsZero() {
		w.lost = time.Now()
	}
}

// keeps reports whether the engine may go on trying for such a link by itself. mu is held.
func (m *Manager) keeps(pk cipher.PubKey, typ link.Type) bool { return m.wants[want{pk, typ}] != nil }

// keep sees to it that what is wanted is there, until Run ends.
func (m *Manager) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m.mu.Lock()
		news := m.news
		due, dead, again := m.tend(time.Now())
		m.mu.Unlock()
		for _, k := range dead {
			if up, _ := m.state(k.pk, k.typ); !up {
				m.plane.drop(k.pk, k.typ)
			}
		}
		for _, w := range due {
			_, _ = m.attempt(w.pk, w.typ, m.asked(w)) // it fails only where Run is over
		}
		timer.Reset(again)
		select {
		case <-m.life.Done():
			return
		case <-news:
		case <-timer.C:
		}
	}
}

// asked reports whether a user named that peer and type.
func (m *Manager) asked(w want) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.wants[w]
	return s != nil && w.typ != 0 && (s.user || s.persistent)
}

// tend returns what is due now, which links nobody wants any more, and when to look again.
// mu is held.
func (m *Manager) tend(now time.Time) (due []want, dead []key, again time.Duration) {
	again = time.Minute
	later := func(at time.Time) { again = min(again, max(at.Sub(now), time.Millisecond)) }
	for w, s := range m.wants {
		_, direct := m.anyUp(w.pk)
		up := m.isUp(w.pk, w.typ)
		switch {
		case up && (w.typ != 0 || direct):
			s.lost, s.upgrade, s.upgrades = time.Time{}, time.Time{}, 0
			s.settled(now, m.upSince(w))
		case up:
			s.lost = time.Time{}
			if m.settings.NoUpgrade {
				continue
			}
			if s.upgrade.IsZero() {
				s.upgrade = now.Add(backOff(upgradeFirst, upgradeMost, s.upgrades))
			}
			if s.upgrade.After(now) {
				later(s.upgrade)
			} else if len(m.attemptsAt(w.pk)) == 0 {
				s.upgrades++
				s.upgrade = time.Time{}
				due = append(due, w)
			}
		case len(m.attemptsAt(w.pk)) > 0:
		default:
			if s.lost.IsZero() {
				s.lost = now
			}
			if s.over(now) {
				delete(m.wants, w)
				if s.auto {
					m.shun(w.pk, now)
				}
				if w.typ != 0 { // the engine was left to try by itself
					dead = append(dead, key(w))
				}
				continue
			}
			if s.next.After(now) {
				later(s.next)
				continue
			}
			s.next = now.Add(backOff(retryFirst, retryMost, s.failures))
			s.failures++
			due = append(due, w)
		}
	}
	for k, t := range m.transports {
		if t.up || m.keeps(k.pk, k.typ) || m.keeps(k.pk, 0) || len(m.attemptsAt(k.pk)) > 0 || m.punches[k.pk] != nil {
			continue
		}
		if at := t.since.Add(forgotten); at.After(now) {
			later(at)
			continue
		}
		if t.outbound {
			dead = append(dead, k)
		}
		delete(m.transports, k)
		for _, d := range m.members {
			d.kick()
		}
	}
	return due, dead, again
}

// settled forgets failures of what has been up for a while.
func (s *wanted) settled(now, since time.Time) {
	if now.Sub(since) >= steady {
		s.failures, s.next = 0, time.Time{}
	}
}

// upSince returns when the oldest link came up that satisfies w. mu is held.
func (m *Manager) upSince(w want) time.Time {
	since := time.Now()
	for _, typ := range []link.Type{link.STCPR, link.SUDPH, link.DMSG} {
		if t := m.transports[key{w.pk, typ}]; t != nil && t.up && (w.typ == 0 || w.typ == typ) && t.since.Before(since) {
			since = t.since
		}
	}
	return since
}

// over reports whether what is lost is given up.
func (s *wanted) over(now time.Time) bool {
	switch {
	case s.user, s.persistent:
		return false
	case s.auto && s.failures < autoFailures:
		return false
	case s.demand && now.Sub(s.lost) < demandLife:
		return false
	}
	return true
}
