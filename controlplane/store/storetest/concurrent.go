package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// next returns the changes up to and including the first of the given kind (and, if
// it is not "", key).
func next(t *testing.T, w *store.Watcher, kind store.Kind, key string) []store.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all []store.Change
	for {
		cs, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for change %d of %q after %v: %v", kind, key, all, err)
		}
		all = append(all, cs...)
		for _, c := range cs {
			if c.Kind == kind && (key == "" || c.Key == key) {
				return all
			}
		}
	}
}

func watch(t *testing.T, f Fixture) {
	s := f.Store
	put(t, s, "a/before", "", 0, store.Always())
	w, err := s.Watch("a/")
	if err != nil {
		t.Fatal(err)
	}
	if cs := next(t, w, store.Resync, ""); cs[0].Kind != store.Resync {
		t.Errorf("the first change is %+v", cs[0])
	}
	v1 := put(t, s, "a/\x001", "", time.Hour, store.Always())
	put(t, s, "b/2", "", 0, store.Always())
	v2 := put(t, s, "a/\x001", "", 0, store.Always())
	if _, err := s.Put(t.Context(), "a/\x001", nil, 0, store.IfVersion(v1)); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a/\x001", store.Always()); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a/last", "", 0, store.Always())
	got := next(t, w, store.Written, "a/last")
	expect := []store.Change{
		{Kind: store.Written, Key: "a/\x001", Version: v1}, {Kind: store.Written, Key: "a/\x001", Version: v2},
		{Kind: store.Deleted, Key: "a/\x001"}, {Kind: store.Written, Key: "a/last", Version: got[len(got)-1].Version},
	}
	if fmt.Sprint(got) != fmt.Sprint(expect) {
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
	next(t, slow, store.Resync, "")
	quick, err := f.Store.Watch("last")
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	next(t, quick, store.Resync, "")
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := range 100 {
				if _, err := f.Store.Put(t.Context(), fmt.Sprint("k", w, "/", i), nil, 0, store.Always()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	put(t, f.Store, "last", "", 0, store.Always())
	next(t, quick, store.Written, "last")
	cs := next(t, slow, store.Written, "last")
	if len(cs) >= 5000 || cs[0].Kind != store.Resync {
		t.Errorf("%d changes for 5,001 writes, the first is %+v; want a Resync", len(cs), cs[0])
	}
}
