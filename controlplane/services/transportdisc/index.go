package transportdisc

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/mirror"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// An Index knows all transports of a store, whichever processes write them. All
// methods may be called concurrently.
type Index struct {
	m *mirror.Mirror[record]

	mu         sync.RWMutex
	visors     map[cipher.PubKey]*visor
	transports map[deployment.TransportID]*transport
	halves     int // that are registered, listed or not
	listed     int
	alive      int            // visors
	types      map[string]int // listed transports, by type
	changes    uint64         // of what is listed
	listeners  []Listener
}

// A Listener hears what is listed. With listed false the transport is not any more;
// stats may be nil. It is called for one change at a time, with the index's lock
// held: it must return quickly and not call the index.
type Listener func(t deployment.Transport, stats *deployment.TransportStats, listed bool)

// A visor is what is known of a key.
type visor struct {
	alive      bool
	instance   string
	stats      []deployment.TransportStats // of the last beat
	parts      map[int]*halves             // by the number of the record
	transports map[deployment.TransportID]*transport
}

// A transport is what is known of one. What it points to is shared, read only.
type transport struct {
	deployment.Transport
	sides  [2]sideOf
	old    *oldEntry
	stats  [2]*deployment.TransportStats // as the edges measured
	shown  *deployment.TransportStats    // what is told of that
	listed bool
}

// A sideOf a transport is what one edge has registered; half is nil: nothing.
type sideOf struct {
	half     *half
	instance string
}

// NewIndex returns an index of what is in st. Run fills it.
func NewIndex(st store.Store, now func() time.Time, log zerolog.Logger) *Index {
	x := &Index{visors: make(map[cipher.PubKey]*visor), transports: make(map[deployment.TransportID]*transport), types: make(map[string]int)}
	x.m = mirror.New(st, mirror.Options[record]{Prefix: Prefix, Decode: decode, Changed: x.changed, Now: now, Log: log})
	return x
}

// Run reads the store, calls ready and keeps the index right until ctx ends.
func (x *Index) Run(ctx context.Context, ready func()) error { return x.m.Run(ctx, ready) }

// Lost returns since when the store is gone; zero: it is not.
func (x *Index) Lost() time.Time { return x.m.Lost() }

// Listen calls f for each transport that is listed and from then on for each change.
func (x *Index) Listen(f Listener) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.transports {
		if t.listed {
			f(t.Transport, t.shown, true)
		}
	}
	x.listeners = append(x.listeners, f)
}

// changed takes a change of the store's.
func (x *Index) changed(key string, r record, present bool) {
	kind, pk, n, id, err := parseKey(key)
	if err != nil {
		return // decode has refused it
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch kind {
	case kindBeat:
		x.setBeat(pk, r.beat)
	case kindHalf:
		x.setHalves(pk, n, r.half)
	case kindOld:
		x.setOld(id, r.old, present)
	}
}

// visor returns what is known of pk, from now on something. mu is held.
func (x *Index) visor(pk cipher.PubKey) *visor {
	v := x.visors[pk]
	if v == nil {
		v = &visor{parts: make(map[int]*halves), transports: make(map[deployment.TransportID]*transport)}
		x.visors[pk] = v
	}
	return v
}

// forget drops what is known of pk if that is nothing. mu is held.
func (x *Index) forget(pk cipher.PubKey) {
	if v := x.visors[pk]; v != nil && !v.alive && len(v.parts) == 0 && len(v.transports) == 0 {
		delete(x.visors, pk)
	}
}

// setBeat takes a beat of pk, or that there is none any more. mu is held.
func (x *Index) setBeat(pk cipher.PubKey, b *beat) {
	v := x.visor(pk)
	was := *v
	v.alive, v.instance, v.stats = b != nil, "", nil
	if b != nil {
		v.instance, v.stats = b.seat.ID, b.stats
		for i := range b.stats {
			s := &b.stats[i]
			if t := v.transports[s.ID]; t != nil {
				t.stats[side(&t.Transport, pk)] = s
				x.show(t)
			}
		}
	}
	switch {
	case v.alive && !was.alive:
		x.alive++
	case !v.alive && was.alive:
		x.alive--
	}
	if v.alive != was.alive || v.instance != was.instance {
		for _, t := range v.transports {
			x.judge(t)
		}
	}
	x.forget(pk)
}

// setHalves takes record n of what pk has registered; nil: it is gone. mu is held.
func (x *Index) setHalves(pk cipher.PubKey, n int, h *halves) {
	v := x.visor(pk)
	old := v.parts[n]
	now := make(map[deployment.TransportID]bool)
	if h == nil {
		delete(v.parts, n)
	} else {
		v.parts[n] = h
		for i := range h.list {
			e := &h.list[i]
			now[e.id] = true
			t := x.transport(deployment.NewTransport(pk, e.other, e.typ, e.label))
			own := side(&t.Transport, pk)
			if t.sides[own].half == nil {
				x.halves++
				// When the store is read, the beat comes before.
				if i := slices.IndexFunc(v.stats, func(s deployment.TransportStats) bool { return s.ID == e.id }); i >= 0 {
					t.stats[own] = &v.stats[i]
				}
			}
			t.sides[own] = sideOf{e, h.instance}
			t.Label = e.label
			x.judge(t)
			x.show(t)
		}
	}
	if old != nil {
		for i := range old.list {
			e := &old.list[i]
			t := x.transports[e.id]
			if now[e.id] || t == nil {
				continue
			}
			at := side(&t.Transport, pk)
			if t.sides[at].half != e {
				continue // another record has it by now
			}
			t.sides[at], t.stats[at] = sideOf{}, nil
			x.halves--
			x.judge(t)
			x.release(t)
		}
	}
	x.forget(pk)
}

// setOld takes a transport of deployed visors, or that it is gone. mu is held.
func (x *Index) setOld(id deployment.TransportID, o *oldEntry, present bool) {
	if present {
		t := x.transport(o.Transport)
		t.old = o
		x.judge(t)
		return
	}
	if t := x.transports[id]; t != nil {
		t.old = nil
		x.judge(t)
		x.release(t)
	}
}

// transport returns what is known of d, from now on something. mu is held.
func (x *Index) transport(d deployment.Transport) *transport {
	t := x.transports[d.ID]
	if t == nil {
		t = &transport{Transport: d}
		x.transports[d.ID] = t
		for _, pk := range d.Edges {
			x.visor(pk).transports[d.ID] = t
		}
	}
	return t
}

// release drops t if nothing is known of it. mu is held.
func (x *Index) release(t *transport) {
	if t.sides[0].half != nil || t.sides[1].half != nil || t.old != nil {
		return
	}
	delete(x.transports, t.ID)
	for _, pk := range t.Edges {
		delete(x.visors[pk].transports, t.ID)
		x.forget(pk)
	}
}

// valid says whether side i of t is registered by the visor that now runs. mu is
// held.
func (x *Index) valid(t *transport, i int) bool {
	v := x.visors[t.Edges[i]]
	return t.sides[i].half != nil && v != nil && v.alive && v.instance == t.sides[i].instance
}

// signed returns the signatures of t that stand. mu is held.
func (x *Index) signed(t *transport) (sigs [2]cipher.Sig) {
	for i := range t.sides {
		if !x.valid(t, i) {
			continue
		}
		for j, sig := range t.sides[i].half.sigs {
			if sig != (cipher.Sig{}) {
				sigs[j] = sig
			}
		}
	}
	return sigs
}

// judge decides anew whether t is listed. mu is held.
func (x *Index) judge(t *transport) {
	listed := t.old != nil
	if !listed {
		a, b := x.visors[t.Edges[0]], x.visors[t.Edges[1]]
		if a != nil && b != nil && a.alive && b.alive {
			sigs := x.signed(t)
			listed = sigs[0] != (cipher.Sig{}) && sigs[1] != (cipher.Sig{})
		}
	}
	if listed == t.listed {
		return
	}
	t.listed = listed
	if listed {
		x.listed++
		x.types[typeName(t.Type)]++
		t.shown = nil
		if !x.show(t) {
			x.tell(t)
		}
	} else {
		x.listed--
		x.types[typeName(t.Type)]--
		x.tell(t)
	}
}

// tell notes a change of what is listed. mu is held.
func (x *Index) tell(t *transport) {
	x.changes++
	for _, f := range x.listeners {
		f(t.Transport, t.shown, t.listed)
	}
}
