package store_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
)

// eventually calls f until it succeeds. f may fail with ErrUnavailable, nothing else.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// puts returns a function that writes to key.
func puts(s store.Store, key string) func() error {
	return func() error {
		_, err := s.Put(context.Background(), key, []byte(key), time.Hour, store.Always())
		return err
	}
}

// kinds waits until w has reported changes of these kinds, in this order.
func kinds(t *testing.T, w *store.Watcher, want ...store.Kind) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(want) > 0 {
		cs, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for a change of kind %d: %v", want[0], err)
		}
		for _, c := range cs {
			if len(want) > 0 && c.Kind == want[0] {
				want = want[1:]
			}
		}
	}
}

// TestRedisRestart: while Redis is gone calls fail at once; when it is back they
// succeed, with all that was acknowledged, and Watchers know of the gap.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL(), patient())
	w, err := s.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	kinds(t, w, store.Resync)
	eventually(t, "before", puts(s, "before"))
	kinds(t, w, store.Written)

	server.Kill()
	kinds(t, w, store.Lost)
	start := time.Now()
	for range 20 {
		_, get := s.Get(t.Context(), "before")
		_, many := s.GetMany(t.Context(), []string{"before"})
		_, _, list := s.List(t.Context(), "", "", 1)
		_, put := s.Put(t.Context(), "before", nil, 0, store.Always())
		del := s.Delete(t.Context(), "before", store.Always())
		for i, err := range []error{get, many, list, put, del} {
			if !errors.Is(err, store.ErrUnavailable) || strings.Count(err.Error(), "store: ") != 1 {
				t.Fatalf("call %d without a server: %v, want ErrUnavailable", i, err)
			}
		}
	}
	// One of the 100 that waits for its time-out takes longer than this.
	if d := time.Since(start); d > patient().Timeout/2 {
		t.Errorf("100 calls without a server took %v", d)
	}

	server.Restart()
	eventually(t, "after", puts(s, "after"))
	kinds(t, w, store.Resync)
	for _, k := range []string{"before", "after"} {
		if it, err := s.Get(t.Context(), k); err != nil || string(it.Value) != k {
			t.Errorf("Get(%q) = %q, %v", k, it.Value, err)
		}
	}
}

// TestRedisKilled: kill -9 of Redis under load loses nothing that was acknowledged.
func TestRedisKilled(t *testing.T) {
	server := redistest.Start(t)
	keys := acknowledged(t, server.URL(), 500, func(*exec.Cmd) { server.Kill() })
	server.Restart()
	checkAll(t, open(t, server.URL(), patient()), keys)
}

// TestRedisHangs: a server that does not answer costs the first callers their
// time-out, the others nothing.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := store.DefaultOptions()
	o.Timeout = time.Second
	s := open(t, server.URL(), o)
	eventually(t, "before", puts(s, "k"))
	server.Pause()
	start := time.Now()
	for range 100 {
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("a server that hangs: %v, want ErrUnavailable", err)
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("100 calls took %v", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	server.Resume()
	eventually(t, "after", func() error { _, err := s.Get(t.Context(), "k"); return err })
	eventually(t, "after", puts(s, "k"))
}

// TestRedisShared: two stores on one server are one store.
func TestRedisShared(t *testing.T) {
	server := redistest.Start(t)
	a, b := open(t, server.URL(), patient()), open(t, server.URL(), patient())
	w, err := b.Watch("n")
	if err != nil {
		t.Fatal(err)
	}
	kinds(t, w, store.Resync)
	v, err := a.Put(t.Context(), "n", []byte("0"), time.Hour, store.Always())
	if err != nil {
		t.Fatal(err)
	}
	if cs, err := w.Next(t.Context()); err != nil || len(cs) != 1 || cs[0] != (store.Change{Kind: store.Written, Key: "n", Version: v}) {
		t.Errorf("the other store reports %+v, %v", cs, err)
	}
	if _, err := b.Put(t.Context(), "n", nil, 0, store.IfVersion(v)); err != nil {
		t.Error(err)
	}
	if _, err := a.Put(t.Context(), "n", nil, 0, store.IfVersion(v)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("both swapped: %v", err)
	}
	other := open(t, server.URL()+"?prefix=other:", patient())
	if _, err := other.Get(t.Context(), "n"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("under another prefix: %v", err)
	}
}

// TestRedisSweep: nothing is left of what has expired or was deleted.
func TestRedisSweep(t *testing.T) {
	server := redistest.Start(t)
	o := patient()
	o.Sweep = 20 * time.Millisecond
	s := open(t, server.URL(), o)
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprint(w, "/", i)
				if _, err := s.Put(t.Context(), key, nil, 50*time.Millisecond, store.Always()); err != nil {
					t.Error(err)
				}
				if i == 0 { // to be deleted
					if err := s.Delete(t.Context(), key, store.Always()); err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, ttl := range []time.Duration{time.Hour, 0} { // the second time counts
		key := fmt.Sprint("kept for ", ttl)
		for _, ttl := range []time.Duration{50 * time.Millisecond, ttl} {
			if _, err := s.Put(t.Context(), key, nil, ttl, store.Always()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What remains: two records, in their two shards three sets with one member, the
	// versions of 16 shards.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n := server.Do("DBSIZE")
		if n == "21" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s keys are left, want 21: %s", n, server.Do("KEYS", "*"))
		}
	}
	if items, _, err := s.List(t.Context(), "", "", 10); err != nil || len(items) != 2 {
		t.Errorf("List shows %v, %v", items, err)
	}
}

// TestRedisClockBack: versions rise where the server's clock does not.
func TestRedisClockBack(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), patient())
	v, err := s.Put(t.Context(), "k", nil, 0, store.Always())
	if err != nil {
		t.Fatal(err)
	}
	v += uint64(time.Hour / time.Microsecond)
	server.Do("SET", server.Do("KEYS", "skywire:{*}n"), strconv.FormatUint(v, 10))
	for range 3 {
		v++
		if got, err := s.Put(t.Context(), "k", nil, 0, store.Always()); err != nil || got != v {
			t.Fatalf("version %d, %v, want %d", got, err, v)
		}
		if _, err := s.Put(t.Context(), "k", nil, 0, store.IfVersion(v)); err != nil {
			t.Fatal(err)
		}
		v++
	}
}

// TestRedisClusterNodeLost: without one of three nodes the others serve their part.
func TestRedisClusterNodeLost(t *testing.T) {
	t.Parallel()
	url, servers := redistest.Cluster(t)
	s := open(t, url, patient())
	var keys []string
	for i := range 60 {
		keys = append(keys, fmt.Sprint("k", i))
		eventually(t, "before", puts(s, keys[i]))
	}
	servers[1].Kill()
	lost := 0
	for _, k := range keys {
		switch _, err := s.Get(t.Context(), k); {
		case errors.Is(err, store.ErrUnavailable):
			lost++
		case err != nil:
			t.Fatal(err)
		}
	}
	if lost == 0 || lost == len(keys) {
		t.Errorf("%d of %d keys cannot be read without one of three nodes", lost, len(keys))
	}
	if _, _, err := s.List(t.Context(), "", "", 10); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a list with a hole: %v", err)
	}
	servers[1].Restart()
	for _, k := range keys {
		eventually(t, "after", func() error { _, err := s.Get(t.Context(), k); return err })
		eventually(t, "after", puts(s, k))
	}
}

// TestRedisClusterReshard: slots wander from node to node while counters count.
func TestRedisClusterReshard(t *testing.T) {
	t.Parallel()
	url, servers := redistest.Cluster(t)
	s := open(t, url, patient())
	from, to := servers[0].Do("CLUSTER", "MYID"), servers[2].Do("CLUSTER", "MYID")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var sure, tried [4]int // additions that were acknowledged, and those that may have happened
	for w := range sure {
		wg.Go(func() {
			for key := fmt.Sprint("counter/", w); ; {
				select {
				case <-stop:
					return
				default:
				}
				it, err := s.Get(t.Context(), key)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					continue
				}
				tried[w]++
				value := strconv.Itoa(count(it) + 1)
				if _, err := s.Put(t.Context(), key, []byte(value), 0, store.IfVersion(it.Version)); err == nil {
					sure[w]++
				}
			}
		})
	}
	out, err := exec.Command("redis-cli", "--cluster", "reshard", servers[0].Addr, "--cluster-from", from, "--cluster-to", to,
		"--cluster-slots", "3000", "--cluster-yes").CombinedOutput()
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatalf("redis-cli: %v\n%s", err, out)
	}
	for w := range sure {
		var it store.Item
		eventually(t, "after", func() (err error) { it, err = s.Get(t.Context(), fmt.Sprint("counter/", w)); return err })
		if n := count(it); n < sure[w] || n > tried[w] {
			t.Errorf("counter %d is at %d, of %d tries %d were acknowledged", w, n, tried[w], sure[w])
		}
	}
	t.Logf("acknowledged %v", sure)
}

// count reads a counter; one that is absent is 0.
func count(it store.Item) int {
	n, _ := strconv.Atoi(string(it.Value)) // "" is 0
	return n
}

// TestRedisSentinelFailover: the replica takes over with all it had received.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	url, master, replica, _ := redistest.Sentinel(t)
	s := open(t, url, patient())
	w, err := s.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	kinds(t, w, store.Resync)
	var keys []string
	for i := range 100 {
		keys = append(keys, fmt.Sprint("k", i))
		eventually(t, "before", puts(s, keys[i]))
	}
	size := master.Do("DBSIZE")
	for deadline := time.Now().Add(20 * time.Second); replica.Do("DBSIZE") != size; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the replica does not follow")
		}
	}
	master.Kill()
	// At once: a Watcher that nobody asks for so long tells of the Resync alone.
	kinds(t, w, store.Lost)
	eventually(t, "after the failover", puts(s, "after"))
	kinds(t, w, store.Resync)
	for _, k := range append(keys, "after") {
		if it, err := s.Get(t.Context(), k); err != nil || string(it.Value) != k {
			t.Fatalf("Get(%q) = %q, %v", k, it.Value, err)
		}
	}
}

func TestOpenRedisErrors(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "right", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendfsync", "everysec")
	cluster := redistest.Start(t, "--cluster-enabled", "yes")
	cluster.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(cluster.Do("CLUSTER", "INFO"), "cluster_state:ok"); {
		if time.Now().After(deadline) {
			t.Fatal("a cluster of one does not form")
		}
	}
	gone := redistest.Start(t)
	gone.Kill()
	for _, tt := range []struct {
		url, want string
		sentinel  error
	}{
		{"x.db", "looks like bolt:///path/file.db or redis://host:6379", store.ErrInvalid},
		{"ftp://host", "unknown scheme", store.ErrInvalid},
		{"redis://u:wrong@" + gone.Addr, gone.Addr, store.ErrUnavailable},
		{"redis+cluster://u:wrong@" + gone.Addr, gone.Addr, store.ErrUnavailable},
		{"redis+sentinel://u:wrong@" + gone.Addr + "/m", gone.Addr, store.ErrUnavailable},
		{"redis://" + cluster.Addr, "belongs to a cluster; write redis+cluster://", store.ErrInvalid},
		{"redis://:wrong@" + server.Addr, "WRONGPASS", nil},
		{"redis://" + server.Addr, "NOAUTH", nil},
	} {
		s, err := store.Open(t.Context(), tt.url, store.DefaultOptions())
		if s != nil || err == nil || (tt.sentinel != nil) != errors.Is(err, cmp.Or(tt.sentinel, store.ErrUnavailable)) ||
			!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%s: %v, want %q and no password", tt.url, err, tt.want)
		}
	}
	var log bytes.Buffer
	o := patient()
	o.Log = zerolog.New(&log)
	s := open(t, "redis://:right@"+server.Addr+"/2", o)
	eventually(t, "with the right password", puts(s, "k"))
	if n := strings.Count(log.String(), `"level":"warn"`); n != 2 || !strings.Contains(log.String(), "allkeys-lru") || !strings.Contains(log.String(), "everysec") {
		t.Errorf("want warnings about evictions and syncs: %q", log.String())
	}
}
