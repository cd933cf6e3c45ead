package mirror

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/controlplane/store/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a running mirror and what Changed heard: the same entries, if it is right.
type rig struct {
	*Mirror[string]
	mu    sync.Mutex
	heard map[string]string
}

func (r *rig) told() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]string)
	for k, v := range r.heard {
		out[k] = v
	}
	return out
}

func start(t *testing.T, st store.Store, now func() time.Time) *rig {
	t.Helper()
	r := &rig{heard: make(map[string]string)}
	r.Mirror = New(st, Options[string]{
		Prefix: "x/",
		Decode: func(_ string, b []byte) (string, error) {
			if string(b) == "bad" {
				return "", errors.New("bad")
			}
			return string(b), nil
		},
		Changed: func(key, v string, present bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if delete(r.heard, key); present {
				r.heard[key] = v
			}
		},
		Now: now, Log: zerolog.Nop(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return r
}

func TestMirror(t *testing.T) {
	c := servicetest.NewClock(time.Now())
	st := servicetest.Open(t, "", c.Now)
	ctx := t.Context()
	put := func(key, v string, ttl time.Duration) {
		if _, err := st.Put(ctx, key, []byte(v), ttl, store.Always()); err != nil {
			t.Fatal(err)
		}
	}
	put("x/before", "1", 0)
	put("x/worse", "bad", 0)
	put("y/other", "1", 0)
	r := start(t, st, c.Now)
	if e, ok := r.Get("before"); !ok || e.Value != "1" || e.Key != "before" {
		t.Errorf("before = %+v, %v", e, ok)
	}
	if n := len(r.All(nil)); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	// Written by others.
	put("x/after", "2", time.Minute)
	servicetest.Eventually(t, "written by others", func() bool { e, ok := r.Get("after"); return ok && e.Value == "2" })
	// Written through the mirror: there at once.
	if err := r.Put(ctx, "own", []byte("3"), time.Minute, store.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	if e, ok := r.Get("own"); !ok || e.Value != "3" {
		t.Errorf("own = %+v, %v", e, ok)
	}
	if err := r.Put(ctx, "own", []byte("4"), 0, store.IfAbsent()); !errors.Is(err, store.ErrConflict) {
		t.Errorf("put again: %v", err)
	}
	changes := r.Changes()
	if err := r.Delete(ctx, "before", store.Always()); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Get("before"); ok || r.Changes() == changes {
		t.Error("deleted, and still there")
	}
	if err := st.Delete(ctx, "x/own", store.Always()); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, "deleted by others", func() bool { _, ok := r.Get("own"); return !ok })
	c.Add(time.Minute)
	if _, ok := r.Get("after"); ok {
		t.Error("expired, and still there")
	}
	r.sweep(c.Now())
	if len(r.told()) != 0 || r.Len() != 0 {
		t.Errorf("told of %v, %d entries left", r.told(), r.Len())
	}
}

// While the store is gone nothing expires, and what was to expire meanwhile lives on
// for a while after it is back, unless it was refreshed.
func TestStoreGone(t *testing.T) {
	server := redistest.Start(t)
	c := servicetest.NewClock(time.Now())
	st := servicetest.Open(t, server.URL(), time.Now)
	r := start(t, st, c.Now)
	other := start(t, servicetest.Open(t, server.URL(), time.Now), c.Now)
	if err := r.Put(t.Context(), "a", []byte("1"), 3*time.Second, store.Always()); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, "seen by the other instance", func() bool { _, ok := other.Get("a"); return ok })
	server.Kill()
	servicetest.Eventually(t, "lost", func() bool { return !r.Lost().IsZero() && !other.Lost().IsZero() })
	c.Add(5 * time.Minute)
	if _, ok := r.Get("a"); !ok {
		t.Error("expired while the store was gone")
	}
	if err := r.Put(t.Context(), "b", []byte("1"), 0, store.Always()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("put without a store: %v", err)
	}
	server.Restart()
	servicetest.Eventually(t, "back", func() bool { return r.Lost().IsZero() && other.Lost().IsZero() })
	if _, ok := r.Get("a"); !ok {
		t.Error("no grace after the store was back")
	}
	c.Add(healGrace + time.Second)
	r.sweep(c.Now())
	if _, ok := r.Get("a"); ok || len(r.told()) != 0 {
		t.Errorf("still there after the grace: %v", r.told())
	}
}
