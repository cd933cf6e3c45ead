package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/store"
)

// model runs random operations on the store and on a map.
func model(t *testing.T, f Fixture) {
	const seed = 20261122
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type entry struct {
		value   string
		version uint64
	}
	have := make(map[string]entry)
	key := func() string { return fmt.Sprintf("%c/%d", 'a'+rune(r.IntN(3)), r.IntN(12)) }
	for step := range 1500 {
		k := key()
		e, there := have[k]
		cond, holds := store.Always(), true
		switch r.IntN(3) {
		case 0:
			cond, holds = store.IfAbsent(), !there
		case 1:
			v := e.version + uint64(r.IntN(2))
			cond, holds = store.IfVersion(v), v == e.version
		}
		switch op := r.IntN(5); op {
		case 0, 1:
			value := fmt.Sprint(step)
			v, err := f.Store.Put(t.Context(), k, []byte(value), 0, cond)
			if holds != (err == nil) || !holds && !errors.Is(err, store.ErrConflict) {
				t.Fatalf("step %d: Put(%q): %v, condition holds: %v", step, k, err, holds)
			}
			if holds {
				have[k] = entry{value, v}
			}
		case 2:
			err := f.Store.Delete(t.Context(), k, cond)
			expect := error(nil)
			switch {
			case !there:
				expect = store.ErrNotFound
			case !holds:
				expect = store.ErrConflict
			default:
				delete(have, k)
			}
			if !errors.Is(err, expect) {
				t.Fatalf("step %d: Delete(%q): %v, want %v", step, k, err, expect)
			}
		case 3:
			value := "-"
			if there {
				value = e.value
			}
			if it := want(t, f.Store, k, value); it.Version != e.version {
				t.Fatalf("step %d: Get(%q) at version %d, want %d", step, k, it.Version, e.version)
			}
		case 4:
			prefix := k[:r.IntN(3)]
			keys := slices.Sorted(maps.Keys(have))
			keys = slices.DeleteFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) })
			if got := list(t, f.Store, prefix, 1+r.IntN(40)); !slices.Equal(got, keys) {
				t.Fatalf("step %d: List(%q) = %q, want %q", step, prefix, got, keys)
			}
		}
	}
}
