package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestLexEnd(t *testing.T) {
	for prefix, want := range map[string]string{"": "+", "a": "(b", "a/": "(a0", "a\xff\xff": "(b", "\xff": "+", "a\x00": "(a\x01"} {
		if got := lexEnd(prefix); got != want {
			t.Errorf("lexEnd(%q) = %q, want %q", prefix, got, want)
		}
	}
}

// TestMergeKeys reads pages from shards of all sizes, equal and not, and compares
// with one sorted list.
func TestMergeKeys(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 500 {
		shards := make([][]string, 1+r.IntN(5))
		weight := 1 + r.IntN(4) // the higher, the more of the keys are in the first shard
		var all []string
		for i := range r.IntN(60) {
			n := r.IntN(len(shards))
			if r.IntN(weight) > 0 {
				n = 0
			}
			k := fmt.Sprintf("%03d", i)
			shards[n], all = append(shards[n], k), append(all, k)
		}
		chunk, limit := 1+r.IntN(8), 1+r.IntN(20)
		var got []string
		for after, more := "", true; more; {
			parts := make([][]string, len(shards))
			for i, s := range shards {
				from, _ := slices.BinarySearch(s, after+"\x00")
				parts[i] = s[from:min(len(s), from+chunk)]
			}
			var keys []string
			keys, more = mergeKeys(parts, chunk, limit)
			if len(keys) > limit || more && len(keys) == 0 {
				t.Fatalf("round %d: a page of %d keys, limit %d, more: %v", round, len(keys), limit, more)
			}
			if len(keys) > 0 {
				after = keys[len(keys)-1]
			}
			got = append(got, keys...)
		}
		if !slices.Equal(got, all) {
			t.Fatalf("round %d: chunk %d, limit %d: %q, want %q", round, chunk, limit, got, all)
		}
	}
}
