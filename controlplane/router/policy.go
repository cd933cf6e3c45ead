package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/setup"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// DefaultMaxHops is the longest path where a Policy says nothing.
	DefaultMaxHops = 5
	// MaxRoutes is over how many routes traffic can be spread.
	MaxRoutes = 8
	// maxKeys bounds Avoid and Prefer.
	maxKeys = 256
)

// A Policy says what ways to a peer an application accepts. The zero value is whatever
// works.
type Policy struct {
	// MinHops and MaxHops bound the links on the way. Above 1, MinHops excludes direct
	// links. 0: 1 and DefaultMaxHops, or MinHops where that is more.
	MinHops, MaxHops int
	// Routes is over how many disjoint routes the traffic is spread; 0: 1.
	Routes int
	// Avoid are keys that no route goes through, Prefer keys that they go through where
	// they can.
	Avoid, Prefer []cipher.PubKey
}

// Validate reports all that is wrong with p.
func (p Policy) Validate() error {
	var faults []error
	if p.MinHops < 0 || p.MinHops > setup.MaxHops {
		faults = append(faults, fmt.Errorf("router: min hops is %d; want 0 to %d", p.MinHops, setup.MaxHops))
	}
	if p.MaxHops < 0 || p.MaxHops > setup.MaxHops {
		faults = append(faults, fmt.Errorf("router: max hops is %d; want 0 to %d", p.MaxHops, setup.MaxHops))
	}
	if p.MaxHops != 0 && p.MinHops > p.MaxHops {
		faults = append(faults, fmt.Errorf("router: min hops %d is more than max hops %d", p.MinHops, p.MaxHops))
	}
	if p.Routes < 0 || p.Routes > MaxRoutes {
		faults = append(faults, fmt.Errorf("router: %d routes; want 0 to %d", p.Routes, MaxRoutes))
	}
	if len(p.Avoid) > maxKeys || len(p.Prefer) > maxKeys {
		faults = append(faults, fmt.Errorf("router: more than %d keys to avoid or to prefer", maxKeys))
	}
	return errors.Join(faults...)
}

// normal returns p with its defaults, keys in order and none twice.
func (p Policy) normal() Policy {
	p.MinHops = max(p.MinHops, 1)
	if p.MaxHops == 0 {
		p.MaxHops = max(DefaultMaxHops, p.MinHops)
	}
	p.Routes = max(p.Routes, 1)
	p.Avoid, p.Prefer = sorted(p.Avoid), sorted(p.Prefer)
	return p
}

func sorted(keys []cipher.PubKey) []cipher.PubKey {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, cipher.PubKey.Compare)
	return slices.Compact(keys)
}

// direct reports whether a link to the peer itself will do.
func (p Policy) direct() bool { return p.MinHops <= 1 }

// key names a normal policy.
func (p Policy) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d %d", p.MinHops, p.MaxHops, p.Routes)
	for _, keys := range [][]cipher.PubKey{p.Avoid, p.Prefer} {
		b.WriteByte('|')
		for _, pk := range keys {
			b.Write(pk[:])
		}
	}
	return b.String()
}

// merge returns what satisfies p and q both where they share routes, as all do that
// accept a direct link: it avoids what either does.
func (p Policy) merge(q Policy) Policy {
	return Policy{
		MinHops: max(p.MinHops, q.MinHops), MaxHops: min(p.MaxHops, q.MaxHops), Routes: max(p.Routes, q.Routes),
		Avoid: sorted(append(slices.Clone(p.Avoid), q.Avoid...)), Prefer: q.Prefer,
	}
}
