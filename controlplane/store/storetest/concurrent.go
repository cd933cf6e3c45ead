package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/store"
)

// counters: many goroutines add to few counters by compare-and-swap; no addition
// may be lost.
func counters(t *testing.T, f Fixture) {
	const workers, rounds, keys = 12, 30, 2
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				if err := increment(t.Context(), f.Store, fmt.Sprint("counter/", (w+i)%keys)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	sum := uint64(0)
	for i := range keys {
		it, err := f.Store.Get(t.Context(), fmt.Sprint("counter/", i))
		if err != nil {
			t.Fatal(err)
		}
		sum += binary.BigEndian.Uint64(it.Value)
	}
	if sum != workers*rounds {
		t.Errorf("the counters add up to %d, want %d", sum, workers*rounds)
	}
}

// increment adds one to the counter under key, however often it must try.
func increment(ctx context.Context, s store.Store, key string) error {
	for {
		it, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n := uint64(0)
		if it.Version != 0 {
			n = binary.BigEndian.Uint64(it.Value)
		}
		_, err = s.Put(ctx, key, binary.BigEndian.AppendUint64(nil, n+1), time.Hour, store.IfVersion(it.Version))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func oneCreator(t *testing.T, f Fixture) {
	for round := range 10 {
		key := fmt.Sprint("lock/", round)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				switch _, err := f.Store.Put(t.Context(), key, nil, 0, store.IfAbsent()); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of 8 created %s", won.Load(), key)
		}
	}
}

// collect reads changes until enough says that what it has got is.
func collect(t *testing.T, w *store.Watcher, enough func([]store.Change) bool) []store.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all []store.Change
	for !enough(all) {
		cs, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("after the changes %v: %v", all, err)
		}
		all = append(all, cs...)
	}
	return all
}

// synced waits for the Resync with which a Watcher begins.
func synced(t *testing.T, w *store.Watcher) {
	t.Helper()
	cs := collect(t, w, func(cs []store.Change) bool { return len(cs) > 0 })
	if cs[0].Kind != store.Resync || len(cs) > 1 {
		t.Fatalf("the first changes are %v, want a Resync", cs)
	}
}

func watch(t *testing.T, f Fixture) {
	s := f.Store
	w, err := s.Watch("a/")
	if err != nil {
		t.Fatal(err)
	}
	synced(t, w)
	v1 := put(t, s, "a/\x001", "", time.Hour, store.Always())
	put(t, s, "b/2", "", 0, store.Always())
	v2 := put(t, s, "a/\x001", "", 0, store.Always())
	if _, err := s.Put(t.Context(), "a/\x001", nil, 0, store.IfVersion(v1)); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a/\x001", store.Always()); err != nil {
		t.Fatal(err)
	}
	v3 := put(t, s, "a/last", "", 0, store.Always())
	got := collect(t, w, func(cs []store.Change) bool { return len(cs) >= 4 })
	// The order holds for one key alone.
	slices.SortStableFunc(got, func(a, b store.Change) int { return strings.Compare(a.Key, b.Key) })
	expect := []store.Change{
		{Kind: store.Written, Key: "a/\x001", Version: v1}, {Kind: store.Written, Key: "a/\x001", Version: v2},
		{Kind: store.Deleted, Key: "a/\x001"}, {Kind: store.Written, Key: "a/last", Version: v3},
	}
	if !slices.Equal(got, expect) {
		t.Errorf("changes are %v, want %v", got, expect)
	}

	ended := make(chan error)
	go func() {
		_, err := w.Next(context.Background())
		ended <- err
	}()
	w.Close()
	w.Close()
	if err := <-ended; !errors.Is(err, store.ErrClosed) {
		t.Errorf("Next of a closed Watcher: %v", err)
	}
	put(t, s, "a/after", "", 0, store.Always())
}

// watchOverflow: who does not look for a long time gets one Resync, not a heap of
// changes.
func watchOverflow(t *testing.T, f Fixture) {
	slow, err := f.Store.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	synced(t, slow)
	quick, err := f.Store.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	synced(t, quick)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if _, err := f.Store.Put(t.Context(), "k", nil, 0, store.Always()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	last := store.Change{Kind: store.Written, Key: "k", Version: put(t, f.Store, "k", "", 0, store.Always())}
	hasLast := func(cs []store.Change) bool { return slices.Contains(cs, last) }
	collect(t, quick, hasLast)
	cs := collect(t, slow, hasLast)
	if len(cs) >= 5000 || cs[0].Kind != store.Resync {
		t.Errorf("%d changes for 5,001 writes, the first is %+v; want a Resync", len(cs), cs[0])
	}
}
