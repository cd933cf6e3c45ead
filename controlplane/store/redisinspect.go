package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// inspect checks that the servers serve us, and warns of settings with which they
// lose what they have acknowledged.
func (r *Redis) inspect(ctx context.Context, c redisConfig) error {
	own, end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	err = r.client.Do(own, r.client.B().Get().Key(r.shards[0].version).Build()).Error()
	if rueidis.IsRedisNil(err) {
		err = nil
	}
	if err := end(err); err != nil {
		return err
	}
	for addr, node := range r.client.Nodes() {
		// A replica may be down, or these commands forbidden: that does not matter here.
		own, end, err := r.begin(ctx)
		if err != nil {
			return err
		}
		info, err := node.Do(own, node.B().Info().Build()).ToString()
		sync, _ := node.Do(own, node.B().ConfigGet().Parameter("appendfsync").Build()).AsStrMap()
		if end(err) != nil {
			continue
		}
		if c.mode == modeSingle && strings.Contains(info, "cluster_enabled:1") {
			return fmt.Errorf("%w: the redis at %s belongs to a cluster; write redis+cluster://", ErrInvalid, addr)
		}
		for _, w := range warnings(info, sync["appendfsync"]) {
			r.o.Log.Warn().Str("redis", addr).Msg(w)
		}
	}
	return nil
}

// warnings returns what is dangerous about a server, from its answer to INFO and
// from its appendfsync, "" where that is not known.
func warnings(info, appendfsync string) (out []string) {
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[k] = v
	}
	switch {
	case fields["aof_enabled"] == "0":
		out = append(out, "appendonly is off: a restart loses the last writes")
	case appendfsync != "" && appendfsync != "always":
		out = append(out, "appendfsync is "+appendfsync+": a crash loses the last writes; set always")
	}
	if p, ok := fields["maxmemory_policy"]; ok && p != "noeviction" && fields["maxmemory"] != "0" {
		out = append(out, "maxmemory-policy "+p+" throws entries away; set noeviction")
	}
	return out
}
