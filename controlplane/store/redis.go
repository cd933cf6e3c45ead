package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// A Redis is the Store for services of which several instances serve the same data;
// Open makes it. Its calls share few connections, on which they are pipelined.
type Redis struct {
	client  rueidis.Client
	o       Options
	shards  [redisShards]redisShard
	broken  [redisShards]breaker
	scripts redisScripts
	channel string // of the notices of changes
	hub     hub

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	closed atomic.Bool
	once   sync.Once
	wg     sync.WaitGroup // goroutines and calls under way
	mu     sync.Mutex     // no Add to wg once closed is set; guards listen
	listen bool           // the goroutine that waits for notices was started
}

var _ Store = (*Redis)(nil)

// openRedis connects to the servers of c.
func openRedis(ctx context.Context, c redisConfig, o Options) (*Redis, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	client, err := rueidis.NewClient(clientOption(c, o))
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, redisError(strings.Join(c.hosts, ","), err)
	}
	r := &Redis{
		client: client, o: o,
		shards: newRedisShards(c.prefix), scripts: newRedisScripts(), channel: c.prefix + "changes",
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.inspect(ctx, c); err != nil {
		r.Close()
		return nil, err
	}
	r.wg.Go(r.sweep)
	return r, nil
}

// clientOption translates c and o for the client.
func clientOption(c redisConfig, o Options) rueidis.ClientOption {
	opt := rueidis.ClientOption{
		InitAddress: c.hosts, Username: c.user, Password: c.password, SelectDB: c.db, ClientName: "skywire",
		ForceSingleClient: c.mode == modeSingle,
		DisableCache:      true, // callers have caches of their own, see Watch
		// Half a MiB each is for clients with one connection.
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		// A connection that does not answer a ping for so long is given up.
		ConnWriteTimeout: o.Timeout,
		RetryDelay:       retryDelay,
	}
	opt.Dialer.Timeout = o.Timeout
	if c.tls {
		opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	switch c.mode {
	case modeCluster:
		opt.ClusterOption = rueidis.ClusterOption{ShardsRefreshInterval: 5 * time.Second, MaxMovedRedirections: 5}
	case modeSentinel:
		opt.Sentinel = rueidis.SentinelOption{
			Dialer: opt.Dialer, TLSConfig: opt.TLSConfig,
			MasterSet: c.master, Username: c.sentinelUser, Password: c.sentinelPassword,
			TopologyRefreshInterval: 5 * time.Second, // where the notice of a failover was lost
		}
	}
	return opt
}

// retryDelay lets a read try again once or twice, as a connection may turn out to be
// closed only when it is used; a server that is gone must show at once. Writes are
// never repeated by the client. A broken subscription is ours to renew.
func retryDelay(attempts int, cmd rueidis.Completed, _ error) time.Duration {
	if words := cmd.Commands(); attempts > 2 || len(words) > 0 && words[0] == "SUBSCRIBE" {
		return -1
	}
	return time.Duration(1+rand.IntN(10)) * time.Millisecond
}

// begin registers a call to the given shards and bounds its time. The returned
// function must be called with what the call returned.
func (r *Redis) begin(ctx context.Context, shards ...int) (context.Context, func(error) error, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return nil, nil, ErrClosed
	}
	r.wg.Add(1)
	r.mu.Unlock()
	now := r.o.Now()
	for _, s := range shards {
		if !r.broken[s].allow(now) {
			r.wg.Done()
			return nil, nil, fmt.Errorf("%w: redis does not answer", ErrUnavailable)
		}
	}
	own, cancel := context.WithTimeout(ctx, r.o.Timeout)
	end := func(err error) error {
		defer r.wg.Done()
		cancel()
		// A caller in a hurry does not say that the server hangs.
		timedOut := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		if ctx.Err() == nil {
			now := r.o.Now()
			for _, s := range shards {
				r.broken[s].done(timedOut, now)
			}
		}
		return r.translate(ctx, err)
	}
	return own, end, nil
}

// translate turns an error of the client into one of the store.
func (r *Redis) translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("store: %w", ctx.Err())
	}
	if errors.Is(err, rueidis.ErrClosing) && r.closed.Load() {
		return ErrClosed
	}
	return redisError("", err)
}

// redisError wraps an error of the client: ErrUnavailable is what may pass. at says
// where it happened, unless it is "".
func redisError(at string, err error) error {
	if at != "" {
		at = " at " + at
	}
	if reply, ok := rueidis.IsRedisErr(err); ok {
		word, _, _ := strings.Cut(reply.Error(), " ")
		switch word {
		// The states of a server that pass, or that its operator has to end.
		case "LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "OOM", "BUSY", "UNKILLABLE":
		default:
			return fmt.Errorf("store: redis%s: %w", at, err)
		}
	}
	return fmt.Errorf("%w: redis%s: %w", ErrUnavailable, at, err)
}

// Get implements Store.
func (r *Redis) Get(ctx context.Context, key string) (Item, error) {
	if err := checkKey(key); err != nil {
		return Item{}, err
	}
	n := shardOf(key)
	own, end, err := r.begin(ctx, n)
	if err != nil {
		return Item{}, err
	}
	rec, err := r.client.Do(own, r.client.B().Get().Key(r.shards[n].values+key).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		rec, err = "", nil
	}
	if err := end(err); err != nil {
		return Item{}, err
	}
	it := Item{Key: key}
	it.load([]byte(rec), 0)
	if it.Version == 0 {
		return Item{}, ErrNotFound
	}
	return it, nil
}

// GetMany implements Store: one MGET for each shard, all at once.
func (r *Redis) GetMany(ctx context.Context, keys []string) ([]Item, error) {
	if err := checkMany(keys); err != nil {
		return nil, err
	}
	var names [redisShards][]string
	var where [redisShards][]int // which of the keys they are
	for i, k := range keys {
		n := shardOf(k)
		names[n], where[n] = append(names[n], r.shards[n].values+k), append(where[n], i)
	}
	var cmds []rueidis.Completed
	var used []int
	for n := range names {
		if len(names[n]) > 0 {
			cmds, used = append(cmds, r.client.B().Mget().Key(names[n]...).Build()), append(used, n)
		}
	}
	own, end, err := r.begin(ctx, used...)
	if err != nil {
		return nil, err
	}
	got := make([]Item, len(keys))
	for i, res := range r.client.DoMulti(own, cmds...) {
		var recs []rueidis.RedisMessage
		if recs, err = res.ToArray(); err != nil {
			break
		}
		if len(recs) != len(where[used[i]]) {
			err = fmt.Errorf("MGET answers %d of %d keys", len(recs), len(where[used[i]]))
			break
		}
		for j, rec := range recs {
			it := &got[where[used[i]][j]]
			it.Key = keys[where[used[i]][j]]
			if s, err := rec.ToString(); err == nil {
				it.load([]byte(s), 0)
			}
		}
	}
	if err := end(err); err != nil {
		return nil, err
	}
	return got, nil
}

// Put implements Store.
func (r *Redis) Put(ctx context.Context, key string, value []byte, ttl time.Duration, cond Cond) (uint64, error) {
	ttlMS, err := checkPut(key, value, ttl)
	if err != nil {
		return 0, err
	}
	n := shardOf(key)
	s := &r.shards[n]
	v, err := r.run(ctx, n, r.scripts.put,
		[]string{s.values + key, s.keys, s.expiry, s.version},
		[]string{key, string(value), strconv.FormatInt(ttlMS, 10), cond.arg(), r.channel})
	return uint64(max(v, 0)), err
}

// Delete implements Store.
func (r *Redis) Delete(ctx context.Context, key string, cond Cond) error {
	if err := checkKey(key); err != nil {
		return err
	}
	n := shardOf(key)
	s := &r.shards[n]
	_, err := r.run(ctx, n, r.scripts.del, []string{s.values + key, s.keys, s.expiry}, []string{key, cond.arg(), r.channel})
	return err
}

// run runs one of the scripts that write.
func (r *Redis) run(ctx context.Context, shard int, script *rueidis.Lua, keys, args []string) (int64, error) {
	own, end, err := r.begin(ctx, shard)
	if err != nil {
		return 0, err
	}
	v, err := script.Exec(own, r.client, keys, args).AsInt64()
	if err := end(err); err != nil {
		return 0, err
	}
	switch v {
	case replyConflict:
		return 0, ErrConflict
	case replyNotFound:
		return 0, ErrNotFound
	}
	return v, nil
}

// Close implements Store.
func (r *Redis) Close() error {
	r.once.Do(func() {
		r.mu.Lock()
		r.closed.Store(true)
		r.mu.Unlock()
		r.cancel()
		r.hub.close()
		r.wg.Wait()
		r.client.Close()
	})
	return nil
}
