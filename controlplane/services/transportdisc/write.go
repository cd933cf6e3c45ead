package transportdisc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/mirror"
	"github.com/skyminer/skywire/controlplane/services/seat"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// tries is how often a write that met one of another instance begins again.
const tries = 4

// halfLives is for how many TTLs a record of halves is kept; heartbeats write it anew
// once half of that has passed. It outlives the beats that make it count.
const halfLives = 6

// A account is what the store has of a key at the moment.
type account struct {
	s     *Service
	pk    cipher.PubKey
	from  string // where the caller is
	seat  seat.Seat
	beat  mirror.Entry[record] // Version 0: none
	parts []mirror.Entry[record]
}

// open reads the account of pk for a write by instance in, from what is in memory.
func (s *Service) open(pk cipher.PubKey, in deployment.Instance, from string) (*account, error) {
	a := &account{s: s, pk: pk, from: from, parts: make([]mirror.Entry[record], (s.o.MaxPerKey+maxHalves-1)/maxHalves)}
	var held seat.Seat
	if e, ok := s.index.m.Get(beatKey(pk)); ok {
		a.beat, held = e, e.Value.beat.seat
	}
	var err error
	if a.seat, err = held.Take(in, from); err != nil {
		return nil, err
	}
	for n := range a.parts {
		a.parts[n], _ = s.index.m.Get(halfKey(pk, n))
	}
	return a, nil
}

// again runs f on the account of pk, under its lock, until it meets no write of
// another instance of the service.
func (s *Service) again(ctx context.Context, pk cipher.PubKey, in deployment.Instance, from string, f func(*account) error) error {
	defer s.lock(pk)()
	for try := 1; ; try++ {
		a, err := s.open(pk, in, from)
		if err != nil {
			return err
		}
		if err = f(a); !errors.Is(err, store.ErrConflict) {
			return err
		}
		if try == tries {
			return deployment.ErrConflict.With("others write for this key at the same time")
		}
		if err := a.refresh(ctx); err != nil {
			return err
		}
	}
}

// refresh reads what the store has of the key.
func (a *account) refresh(ctx context.Context) error {
	keys := []string{beatKey(a.pk)}
	for n := range a.parts {
		keys = append(keys, halfKey(a.pk, n))
	}
	for _, key := range keys {
		if err := a.s.index.m.Refresh(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// list returns part n of what the caller's instance has registered; what an earlier
// one did does not count.
func (a *account) list(n int) []half {
	if h := a.parts[n].Value.half; h != nil && h.instance == a.seat.ID {
		return h.list
	}
	return nil
}

// put writes part n.
func (a *account) put(ctx context.Context, n int, list []half) error {
	b := (&halves{instance: a.seat.ID, list: list}).encode()
	return a.s.index.m.Put(ctx, halfKey(a.pk, n), b, halfLives*a.s.o.TTL, store.IfVersion(a.parts[n].Version))
}

// beats writes that the caller is alive, with what it measured.
func (a *account) beats(ctx context.Context, stats []deployment.TransportStats) error {
	b := (&beat{seat: a.seat, stats: stats}).encode()
	return a.s.index.m.Put(ctx, beatKey(a.pk), b, a.s.o.TTL, store.IfVersion(a.beat.Version))
}

// stats returns what the caller has measured before.
func (a *account) stats() []deployment.TransportStats {
	if b := a.beat.Value.beat; b != nil && b.seat.ID == a.seat.ID {
		return b.stats
	}
	return nil
}

// add registers entries, which were checked, and returns those for which there is no
// room.
func (a *account) add(ctx context.Context, entries []deployment.SignedTransport, now time.Time) (refused []deployment.Refusal, err error) {
	parts := make([][]half, len(a.parts))
	at := make(map[deployment.TransportID][2]int)
	total := 0
	for n := range parts {
		parts[n] = slices.Clone(a.list(n))
		total += len(parts[n])
		for i := range parts[n] {
			at[parts[n][i].id] = [2]int{n, i}
		}
	}
	dirty := make([]bool, len(parts))
	for i := range entries {
		e := &entries[i]
		own := side(&e.Transport, a.pk)
		h := half{other: e.Edges[1-own], typ: e.Type, label: e.Label, registered: now.Unix(), sigs: e.Signatures, id: e.ID}
		if p, ok := at[e.ID]; ok {
			old := &parts[p[0]][p[1]]
			h.registered = old.registered
			if h.sigs[1-own] == (cipher.Sig{}) {
				h.sigs[1-own] = old.sigs[1-own]
			}
			if h != *old {
				*old, dirty[p[0]] = h, true
			}
			continue
		}
		n := slices.IndexFunc(parts, func(p []half) bool { return len(p) < maxHalves })
		if total >= a.s.o.MaxPerKey || n < 0 {
			refused = append(refused, deployment.Refusal{ID: e.ID, Code: deployment.CodeLimit, Text: deployment.ErrLimit.Text})
			continue
		}
		at[e.ID] = [2]int{n, len(parts[n])}
		parts[n], dirty[n] = append(parts[n], h), true
		total++
	}
	for n, d := range dirty {
		if d {
			if err := a.put(ctx, n, parts[n]); err != nil {
				return nil, err
			}
		}
	}
	// A beat that is fresh need not be written again.
	if b := a.beat.Value.beat; b == nil || b.seat != a.seat || a.beat.Expires.Sub(now) < a.s.o.TTL/2 {
		return refused, a.beats(ctx, a.stats())
	}
	return refused, nil
}

// refreshParts writes the parts anew that would soon expire.
func (a *account) refreshParts(ctx context.Context, now time.Time) error {
	for n := range a.parts {
		list := a.list(n)
		if list == nil || a.parts[n].Expires.Sub(now) > halfLives*a.s.o.TTL/2 {
			continue
		}
		if err := a.put(ctx, n, list); err != nil {
			return err
		}
	}
	return nil
}

// remove takes id out of whichever part has it.
func (a *account) remove(ctx context.Context, id deployment.TransportID) error {
	for n := range a.parts {
		h := a.parts[n].Value.half
		if h == nil {
			continue
		}
		i := slices.IndexFunc(h.list, func(x half) bool { return x.id == id })
		if i < 0 {
			continue
		}
		key, version := halfKey(a.pk, n), store.IfVersion(a.parts[n].Version)
		var err error
		if len(h.list) == 1 {
			err = a.s.index.m.Delete(ctx, key, version)
		} else {
			rest := halves{instance: h.instance, list: slices.Delete(slices.Clone(h.list), i, i+1)}
			ttl := max(time.Second, a.parts[n].Expires.Sub(a.s.o.Now()))
			err = a.s.index.m.Put(ctx, key, rest.encode(), ttl, version)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}
