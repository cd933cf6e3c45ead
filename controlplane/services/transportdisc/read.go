package transportdisc

import (
	"cmp"
	"slices"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// entry returns t as it is given out. mu is held.
func (x *Index) entry(t *transport) deployment.SignedTransport {
	e := deployment.SignedTransport{Transport: t.Transport, Stats: t.shown}
	if t.old != nil {
		e.Signatures, e.Registered = t.old.Signatures, t.old.Registered
		return e
	}
	e.Signatures = x.signed(t)
	for _, s := range t.sides {
		if s.half != nil {
			e.Registered = max(e.Registered, s.half.registered)
		}
	}
	return e
}

// Transport returns a listed transport.
func (x *Index) Transport(id deployment.TransportID) (deployment.SignedTransport, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if t := x.transports[id]; t != nil && t.listed {
		return x.entry(t), true
	}
	return deployment.SignedTransport{}, false
}

// Edge returns the listed transports of pk, by their ids.
func (x *Index) Edge(pk cipher.PubKey) (list []deployment.SignedTransport) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if v := x.visors[pk]; v != nil {
		for _, t := range v.transports {
			if t.listed {
				list = append(list, x.entry(t))
			}
		}
	}
	slices.SortFunc(list, func(a, b deployment.SignedTransport) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return list
}

// Changes returns a count that rises with every change of what is listed.
func (x *Index) Changes() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.changes
}

// appendAll appends all listed transports, by their ids, as a JSON array, and returns
// the count of changes that they are of.
func (x *Index) appendAll(b []byte) ([]byte, uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]*transport, 0, x.listed)
	for _, t := range x.transports {
		if t.listed {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *transport) int { return slices.Compare(a.ID[:], b.ID[:]) })
	b = slices.Grow(b, 2+len(all)*700)
	b = append(b, '[')
	for i, t := range all {
		if i > 0 {
			b = append(b, ',')
		}
		e := x.entry(t)
		b = appendEntry(b, &e)
	}
	return append(b, ']'), x.changes
}

// A Measured is what both edges measured of a transport, in the order of its edges.
type Measured struct {
	deployment.Transport `json:"entry"`
	Stats                [2]*deployment.TransportStats `json:"stats"` // null: nothing yet
}

// Measured returns what was measured of a listed transport.
func (x *Index) Measured(id deployment.TransportID) (Measured, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.transports[id]
	if t == nil || !t.listed {
		return Measured{}, false
	}
	return Measured{t.Transport, t.stats}, true
}

// MeasuredBy returns what was measured of the listed transports of pk, by their ids.
func (x *Index) MeasuredBy(pk cipher.PubKey) (list []Measured) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if v := x.visors[pk]; v != nil {
		for _, t := range v.transports {
			if t.listed {
				list = append(list, Measured{t.Transport, t.stats})
			}
		}
	}
	slices.SortFunc(list, func(a, b Measured) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return list
}

// Totals count what there is.
type Totals struct {
	Visors     int            `json:"visors"`     // that are alive
	Transports int            `json:"transports"` // that are listed
	Halves     int            `json:"halves"`     // that were registered, listed or not
	Types      map[string]int `json:"types"`      // of those that are listed; "other": of no known type
}

// Totals counts.
func (x *Index) Totals() Totals {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := Totals{Visors: x.alive, Transports: x.listed, Halves: x.halves, Types: make(map[string]int)}
	for typ, count := range x.types {
		if count > 0 {
			n.Types[typ] = count
		}
	}
	return n
}

// typeName names a type in counts: types are strangers' words, so only those that mean
// something stand for themselves.
func typeName(typ string) string {
	switch typ {
	case deployment.TypeSTCPR, deployment.TypeSUDPH, deployment.TypeSTCP, deployment.TypeDmsg:
		return typ
	}
	return "other"
}

// signatures returns those that the store has of a transport, which were verified
// when they came.
func (x *Index) signatures(id deployment.TransportID) (sigs [2]cipher.Sig) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.transports[id]
	if t == nil {
		return sigs
	}
	for _, s := range t.sides {
		if s.half == nil {
			continue
		}
		for i, sig := range s.half.sigs {
			if sig != (cipher.Sig{}) {
				sigs[i] = sig
			}
		}
	}
	return sigs
}

// edges returns those of a transport that is known, listed or not.
func (x *Index) edges(id deployment.TransportID) (t deployment.Transport, old, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if t := x.transports[id]; t != nil {
		return t.Transport, t.old != nil, true
	}
	return t, false, false
}

// registered says whether pk, as it runs now, has registered a transport.
func (x *Index) registered(pk cipher.PubKey, id deployment.TransportID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.transports[id]
	if t == nil {
		return false
	}
	i := side(&t.Transport, pk)
	return i >= 0 && x.valid(t, i)
}

// oldOf counts the transports that pk has by the API of deployed visors.
func (x *Index) oldOf(pk cipher.PubKey) (n int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if v := x.visors[pk]; v != nil {
		for _, t := range v.transports {
			if t.old != nil {
				n++
			}
		}
	}
	return n
}

// size returns the number of halves and of transports, listed or not.
func (x *Index) size() (halves, transports int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.halves, len(x.transports)
}

// listedOf returns which of ids are listed.
func (x *Index) listedOf(ids []deployment.TransportID) []deployment.TransportID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := []deployment.TransportID{}
	for _, id := range ids {
		if t := x.transports[id]; t != nil && t.listed {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b deployment.TransportID) int { return cmp.Compare(a.String(), b.String()) })
	return out
}
