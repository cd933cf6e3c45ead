package transport

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

const (
	// autoPublic is to how many public visors of a deployment there are automatic
	// transports, autoPeers to how many of their neighbours.
	autoPublic = 3
	autoPeers  = 4
	// autoAsk bounds how many public visors are asked for.
	autoAsk = 32
	// While neighbours are missing the deployment is asked again after autoFirst, doubled up
	// to autoMost; otherwise every autoMost, ± 50 %.
	autoFirst = 500 * time.Millisecond
	autoMost  = time.Minute
	// autoShun is how long a neighbour is left alone that could not be reached.
	autoShun = 5 * time.Minute
)

// automate keeps automatic transports in one deployment until ctx ends: STCPR to public
// visors, and SUDPH to visors that are connected with those.
func (d *member) automate(ctx context.Context) {
	if d.SD == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for misses := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-d.lack:
		case <-timer.C:
		}
		pause := jitter(autoMost)
		if d.topUp(ctx) {
			pause = backOff(autoFirst, autoMost, misses)
			misses++
		} else {
			misses = 0
		}
		timer.Reset(pause)
	}
}

// shun keeps automatic transports away from pk for a while, and has others take its place.
// mu is held.
func (m *Manager) shun(pk cipher.PubKey, now time.Time) {
	for k, until := range m.shunned {
		if until.Before(now) {
			delete(m.shunned, k)
		}
	}
	m.shunned[pk] = now.Add(autoShun)
	for _, d := range m.members {
		poke(d.lack)
	}
}

// topUp wants as many automatic transports as are missing, and reports whether some still
// are.
func (d *member) topUp(ctx context.Context) (missing bool) {
	m := d.m
	m.mu.Lock()
	auto := m.settings.Auto
	m.mu.Unlock()
	if !auto {
		return false
	}
	var public []cipher.PubKey
	err := d.call(ctx, func(ctx context.Context) error {
		services, err := d.SD.Services(ctx, deployment.Filter{Type: deployment.ServiceVisor, Quantity: autoAsk})
		for _, s := range services {
			if pk := s.Address.PK; pk != m.pk && !slices.Contains(public, pk) {
				public = append(public, pk)
			}
		}
		return err
	})
	if err != nil {
		m.log.Debug().Err(err).Str("deployment", d.Name).Msg("no list of public visors")
		return true
	}
	short := m.choose(public, link.STCPR, autoPublic)
	if d.TPD == nil {
		return short
	}
	var peers []cipher.PubKey
	for _, pk := range m.upAmong(public) {
		err := d.call(ctx, func(ctx context.Context) error {
			entries, err := d.TPD.Edge(ctx, pk)
			for _, e := range entries {
				for _, edge := range e.Edges {
					if edge != m.pk && edge != pk && !slices.Contains(public, edge) && !slices.Contains(peers, edge) && len(peers) < autoAsk {
						peers = append(peers, edge)
					}
				}
			}
			return err
		})
		if err != nil {
			m.log.Debug().Err(err).Str("deployment", d.Name).Msg("no list of a public visor's neighbours")
		}
	}
	return m.choose(peers, link.SUDPH, autoPeers) || short
}

// upAmong returns those to whom there is a link.
func (m *Manager) upAmong(pks []cipher.PubKey) (up []cipher.PubKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, pk := range pks {
		if any, _ := m.anyUp(pk); any {
			up = append(up, pk)
		}
	}
	return up
}

// choose wants transports to some of pks, so that there are n, and reports whether there
// are too few that are up.
func (m *Manager) choose(pks []cipher.PubKey, typ link.Type, n int) (short bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have, up, now := 0, 0, time.Now()
	var free []cipher.PubKey
	for _, pk := range pks {
		w := m.wants[want{pk, typ}]
		any, direct := m.anyUp(pk)
		switch {
		case direct || any && w == nil:
			have++
			up++
		case w != nil:
			have++
		case m.shunned[pk].Before(now) && m.accepts(pk):
			free = append(free, pk)
		}
	}
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	for _, pk := range free[:min(len(free), max(n-have, 0))] {
		m.wants[want{pk, typ}] = &wanted{auto: true, label: LabelAutomatic}
	}
	m.shout()
	// Where there are no more to be had, there is no hurry.
	return up < min(n, max(len(pks), 1))
}
