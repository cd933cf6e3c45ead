package store

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/rueidis"
)

// List implements Store. Every shard is asked for its next keys, in its own order;
// what is certain of the merged order is read. The cost of a page is 32 commands in
// two round trips, whatever the store holds.
func (r *Redis) List(ctx context.Context, prefix, after string, limit int) ([]Item, string, error) {
	if err := checkList(prefix, after, limit); err != nil {
		return nil, "", err
	}
	all := make([]int, redisShards)
	for i := range all {
		all[i] = i
	}
	own, end, err := r.begin(ctx, all...)
	if err != nil {
		return nil, "", err
	}
	keys, more, err := r.listKeys(own, prefix, after, limit)
	if err := end(err); err != nil || len(keys) == 0 {
		return nil, "", err
	}
	items, err := r.GetMany(ctx, keys)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if more {
		next = keys[len(keys)-1]
	}
	return slices.DeleteFunc(items, func(it Item) bool { return it.Version == 0 }), next, nil
}

// listKeys returns the next keys of a page, and whether there are more after them.
func (r *Redis) listKeys(ctx context.Context, prefix, after string, limit int) (keys []string, more bool, err error) {
	start, exclusive := listStart(prefix, after)
	from, to := "["+start, lexEnd(prefix)
	if exclusive {
		from = "(" + start
	}
	// Twice the fair share of a shard: mostly the page gets full.
	chunk := min(limit, limit/redisShards*2+8) + 1
	cmds := make([]rueidis.Completed, redisShards)
	for i := range cmds {
		cmds[i] = r.client.B().Zrangebylex().Key(r.shards[i].keys).Min(from).Max(to).Limit(0, int64(chunk)).Build()
	}
	parts := make([][]string, redisShards)
	for i, res := range r.client.DoMulti(ctx, cmds...) {
		if parts[i], err = res.AsStrSlice(); err != nil {
			return nil, false, err
		}
	}
	keys, more = mergeKeys(parts, chunk, limit)
	return keys, more, nil
}

// mergeKeys merges what each shard has answered, up to chunk keys in order, to the
// first keys of them all, up to limit, and says whether there may be more.
//
// A shard that answers with a full chunk may have more: beyond its last key nothing
// is certain. Of all such last keys the smallest counts.
func mergeKeys(parts [][]string, chunk, limit int) (keys []string, more bool) {
	bound := ""
	for _, part := range parts {
		if len(part) == chunk && (bound == "" || part[chunk-1] < bound) {
			bound = part[chunk-1]
		}
		keys = append(keys, part...)
	}
	slices.Sort(keys)
	n := min(limit, len(keys))
	if bound != "" {
		certain, _ := slices.BinarySearch(keys, bound)
		n = min(n, certain+1) // the bound itself is certain
	}
	return keys[:n], n < len(keys) || bound != ""
}

// lexEnd returns the end of a lexical range, exclusive, that holds all with prefix.
func lexEnd(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return "(" + prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return "+"
}

// sweepRounds is how many steps one sweep makes in one shard at most.
const sweepRounds = 200

// sweepShard clears away what is left in the sets of shard n of keys that have
// expired, sweepStep at a time.
func (r *Redis) sweepShard(ctx context.Context, n int) error {
	s := &r.shards[n]
	for range sweepRounds {
		own, end, err := r.begin(ctx, n)
		if err != nil {
			return err
		}
		swept, err := r.scripts.sweep.Exec(own, r.client, []string{s.keys, s.expiry}, []string{strconv.Itoa(sweepStep)}).AsInt64()
		if err := end(err); err != nil || swept < sweepStep {
			return err
		}
	}
	return nil
}
