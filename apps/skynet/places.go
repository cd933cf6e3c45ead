package skynet

import "fmt"

// places are what a forward has for its connections or UDP clients. Each key that uses
// an exposed service gets its share of them, so that one does not keep out the others.
// Not safe for concurrent use.
type places struct {
	spec  *Spec
	limit int
	what  string // is counted, in the plural

	taken int
	byKey map[string]int
}

func newPlaces(spec *Spec, limit int, what string) *places {
	return &places{spec: spec, limit: limit, what: what, byKey: map[string]int{}}
}

// share returns how many one key may have: all where it is the only one, else an equal
// part, but no less than a quarter.
func (p *places) share() int {
	keys := 4
	if !p.spec.Public {
		keys = min(max(len(p.spec.Allow), 1), keys)
	}
	return max(p.limit/keys, 1)
}

// enter takes a place for key, which is "" for clients of this machine. If there is
// none, full says why.
func (p *places) enter(key string) (full string) {
	if p.taken >= p.limit {
		return fmt.Sprintf("skynet: over the limit of %d %s", p.limit, p.what)
	}
	if share := p.share(); key != "" && p.byKey[key] >= share {
		return fmt.Sprintf("skynet: %s is over its share of %d %s", key, share, p.what)
	}
	p.taken++
	p.byKey[key]++
	return ""
}

// leave gives a place back that enter took for key.
func (p *places) leave(key string) {
	p.taken--
	if p.byKey[key]--; p.byKey[key] == 0 {
		delete(p.byKey, key)
	}
}
