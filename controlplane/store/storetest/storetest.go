// Package storetest is the suite that every kind of store must pass: it says what
// the Store interface means.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/store"
)

// A Fixture is an empty store under test and what the suite must be able to do to it.
type Fixture struct {
	Store store.Store
	// Pass returns once the store's clock has gone on by more than d.
	Pass func(d time.Duration)
	// Again closes Store and opens the same data anew.
	Again func(t *testing.T) store.Store
}

// Run runs the suite. Each part of it calls open for a store of its own; open closes
// it at the end of the test.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, part := range []struct {
		name string
		f    func(*testing.T, Fixture)
	}{
		{"values", values},
		{"ownership", ownership},
		{"conditions", conditions},
		{"versions", versions},
		{"expiry", expiry},
		{"many", many},
		{"pages", pages},
		{"pages of bytes", pagesOfBytes},
		{"limits", limits},
		{"counters", counters},
		{"one creator", oneCreator},
		{"watch", watch},
		{"watch overflow", watchOverflow},
		{"cancelled", cancelled},
		{"closed", closed},
		{"again", again},
		{"model", model},
	} {
		t.Run(part.name, func(t *testing.T) { part.f(t, open(t)) })
	}
}

// put is Put of what must succeed.
func put(t *testing.T, s store.Store, key, value string, ttl time.Duration, c store.Cond) uint64 {
	t.Helper()
	v, err := s.Put(t.Context(), key, []byte(value), ttl, c)
	if err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
	return v
}

// want checks what Get returns for key; "-" as value says that it must not be there.
func want(t *testing.T, s store.Store, key, value string) store.Item {
	t.Helper()
	it, err := s.Get(t.Context(), key)
	switch {
	case value == "-":
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Get(%q) = %q, %v, want ErrNotFound", key, it.Value, err)
		}
	case err != nil:
		t.Fatalf("Get(%q): %v", key, err)
	case string(it.Value) != value || it.Key != key || it.Version == 0:
		t.Fatalf("Get(%q) = %q at version %d of %q, want %q", key, it.Value, it.Version, it.Key, value)
	}
	return it
}

func values(t *testing.T, f Fixture) {
	long := strings.Repeat("\xffv\x00", store.MaxValue/3) + "!"
	keys := []string{"a", "A", "a/b", "a\x00", "\x00", "\xff\xff", "{a}", "ü", "a b\r\n*", strings.Repeat("k", store.MaxKey)}
	for i, k := range keys {
		want(t, f.Store, k, "-")
		for _, v := range []string{"", "\x00\r\n\xff", fmt.Sprint("value ", i), long, fmt.Sprint(i)} {
			put(t, f.Store, k, v, 0, store.Always())
			if it := want(t, f.Store, k, v); it.Value == nil || !it.Expires.IsZero() {
				t.Errorf("%q: value %v, expires %v, want a value and the zero time", k, it.Value, it.Expires)
			}
		}
	}
	for i, k := range keys {
		want(t, f.Store, k, fmt.Sprint(i))
		if err := f.Store.Delete(t.Context(), k, store.Always()); err != nil {
			t.Fatal(err)
		}
		want(t, f.Store, k, "-")
	}
}

func ownership(t *testing.T, f Fixture) {
	v := []byte("borrowed")
	if _, err := f.Store.Put(t.Context(), "k", v, 0, store.Always()); err != nil {
		t.Fatal(err)
	}
	copy(v, "mangled!")
	it := want(t, f.Store, "k", "borrowed")
	copy(it.Value, "mangled!")
	want(t, f.Store, "k", "borrowed")
}

func conditions(t *testing.T, f Fixture) {
	s := f.Store
	wrong := func(name string, err error, sentinel error) {
		t.Helper()
		if !errors.Is(err, sentinel) {
			t.Errorf("%s: %v, want %v", name, err, sentinel)
		}
	}
	_, err := s.Put(t.Context(), "k", nil, 0, store.IfVersion(7))
	wrong("swap of what is absent", err, store.ErrConflict)
	wrong("deletion of what is absent", s.Delete(t.Context(), "k", store.Always()), store.ErrNotFound)
	wrong("conditional deletion of what is absent", s.Delete(t.Context(), "k", store.IfVersion(7)), store.ErrNotFound)

	v1 := put(t, s, "k", "1", 0, store.IfAbsent())
	_, err = s.Put(t.Context(), "k", []byte("no"), 0, store.IfAbsent())
	wrong("second creation", err, store.ErrConflict)
	_, err = s.Put(t.Context(), "k", []byte("no"), 0, store.IfVersion(0))
	wrong("creation by version 0", err, store.ErrConflict)
	v2 := put(t, s, "k", "2", 0, store.IfVersion(v1))
	_, err = s.Put(t.Context(), "k", []byte("no"), 0, store.IfVersion(v1))
	wrong("swap of an old version", err, store.ErrConflict)
	wrong("deletion of an old version", s.Delete(t.Context(), "k", store.IfVersion(v1)), store.ErrConflict)
	wrong("deletion if absent", s.Delete(t.Context(), "k", store.IfAbsent()), store.ErrConflict)
	if it := want(t, s, "k", "2"); it.Version != v2 {
		t.Errorf("Get returns version %d, Put returned %d", it.Version, v2)
	}
	if err := s.Delete(t.Context(), "k", store.IfVersion(v2)); err != nil {
		t.Fatal(err)
	}
	want(t, s, "k", "-")
}

func versions(t *testing.T, f Fixture) {
	last := uint64(0)
	for i := range 20 {
		v := put(t, f.Store, "k", "same", 0, store.Always())
		if v <= last || v >= 1<<53 {
			t.Fatalf("version %d after %d", v, last)
		}
		last = v
		if i%3 == 0 {
			if err := f.Store.Delete(t.Context(), "k", store.IfVersion(v)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func expiry(t *testing.T, f Fixture) {
	// Long enough that a busy machine reads it in time, short enough to wait for.
	const ttl = 400 * time.Millisecond
	s, start := f.Store, time.Now()
	old := put(t, s, "p/gone", "1", ttl, store.Always())
	put(t, s, "p/kept", "2", ttl, store.Always())
	put(t, s, "p/for ever", "3", ttl, store.Always())
	put(t, s, "p/refreshed", "4", ttl, store.Always())
	if it, err := s.Get(t.Context(), "p/gone"); err == nil {
		if left := it.Expires.Sub(it.Expires.Truncate(time.Millisecond)); it.Expires.IsZero() || left != 0 {
			t.Errorf("expires %v, want whole milliseconds", it.Expires)
		}
	} else if time.Since(start) < ttl {
		t.Fatalf("expired early: %v", err)
	}
	put(t, s, "p/kept", "2", time.Hour, store.Always())
	put(t, s, "p/for ever", "3", 0, store.Always())
	put(t, s, "p/refreshed", "4", time.Hour, store.Always())
	put(t, s, "p/refreshed", "5", 2*time.Hour, store.Always())

	f.Pass(ttl)
	want(t, s, "p/gone", "-")
	want(t, s, "p/kept", "2")
	want(t, s, "p/refreshed", "5")
	if it := want(t, s, "p/for ever", "3"); !it.Expires.IsZero() {
		t.Errorf("an item for ever expires %v", it.Expires)
	}
	got, err := s.GetMany(t.Context(), []string{"p/gone", "p/kept"})
	if err != nil || len(got) != 2 || got[0].Version != 0 || got[1].Version == 0 {
		t.Errorf("GetMany = %+v, %v, want only the second", got, err)
	}
	if k := list(t, s, "p/", 10); !slices.Equal(k, []string{"p/for ever", "p/kept", "p/refreshed"}) {
		t.Errorf("List shows %q", k)
	}
	if err := s.Delete(t.Context(), "p/gone", store.Always()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deletion of what has expired: %v", err)
	}
	if _, err := s.Put(t.Context(), "p/gone", nil, 0, store.IfVersion(old)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("swap of what has expired: %v", err)
	}
	if v := put(t, s, "p/gone", "back", 0, store.IfAbsent()); v <= old {
		t.Errorf("version %d after %d", v, old)
	}
	want(t, s, "p/gone", "back")
}

func many(t *testing.T, f Fixture) {
	var keys []string
	for i := range store.MaxMany {
		keys = append(keys, fmt.Sprint("k", i))
		if i%8 == 0 && i < 512 {
			put(t, f.Store, keys[i], keys[i], 0, store.Always())
		}
	}
	keys[1], keys[2] = keys[0], keys[0] // asked for three times
	got, err := f.Store.GetMany(t.Context(), keys)
	if err != nil || len(got) != len(keys) {
		t.Fatalf("GetMany returned %d items, %v", len(got), err)
	}
	for i, it := range got {
		there := i%8 == 0 && i < 512 || i == 1 || i == 2
		if it.Key != keys[i] || (it.Version != 0) != there || there && string(it.Value) != keys[i] {
			t.Errorf("item %d is %+v, there: %v", i, it, there)
		}
	}
	if got, err := f.Store.GetMany(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("GetMany of nothing: %v, %v", got, err)
	}
}

func limits(t *testing.T, f Fixture) {
	ctx, s := t.Context(), f.Store
	long := strings.Repeat("k", store.MaxKey+1)
	for name, call := range map[string]func() error{
		"Get without key":       func() error { _, err := s.Get(ctx, ""); return err },
		"Get of a long key":     func() error { _, err := s.Get(ctx, long); return err },
		"GetMany with no key":   func() error { _, err := s.GetMany(ctx, []string{"a", ""}); return err },
		"GetMany of too many":   func() error { _, err := s.GetMany(ctx, make([]string, store.MaxMany+1)); return err },
		"Put without key":       func() error { _, err := s.Put(ctx, "", nil, 0, store.Always()); return err },
		"Put of a long key":     func() error { _, err := s.Put(ctx, long, nil, 0, store.Always()); return err },
		"Put of too much":       func() error { _, err := s.Put(ctx, "k", make([]byte, store.MaxValue+1), 0, store.Always()); return err },
		"Put into the past":     func() error { _, err := s.Put(ctx, "k", nil, -1, store.Always()); return err },
		"Put for too long":      func() error { _, err := s.Put(ctx, "k", nil, store.MaxTTL+1, store.Always()); return err },
		"Delete without key":    func() error { return s.Delete(ctx, "", store.Always()) },
		"List of nothing":       func() error { _, _, err := s.List(ctx, "", "", 0); return err },
		"List of too much":      func() error { _, _, err := s.List(ctx, "", "", store.MaxPage+1); return err },
		"List of a long key":    func() error { _, _, err := s.List(ctx, long, "", 1); return err },
		"List after a long key": func() error { _, _, err := s.List(ctx, "", long, 1); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	want(t, s, "k", "-")
	put(t, s, "k", "", store.MaxTTL, store.Always())
	want(t, s, "k", "")
}

func cancelled(t *testing.T, f Fixture) {
	s := f.Store
	put(t, s, "k", "v", 0, store.Always())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := s.Get(ctx, "k"); return err },
		"GetMany": func() error { _, err := s.GetMany(ctx, []string{"k"}); return err },
		"Put":     func() error { _, err := s.Put(ctx, "k", nil, 0, store.Always()); return err },
		"Delete":  func() error { return s.Delete(ctx, "k", store.Always()) },
		"List":    func() error { _, _, err := s.List(ctx, "", "", 1); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s with a cancelled context: %v, want context.Canceled alone", name, err)
		}
	}
	want(t, s, "k", "v")
}

func closed(t *testing.T, f Fixture) {
	ctx, s := t.Context(), f.Store
	w, err := s.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := s.Get(ctx, "k"); return err },
		"GetMany": func() error { _, err := s.GetMany(ctx, []string{"k"}); return err },
		"Put":     func() error { _, err := s.Put(ctx, "k", nil, 0, store.Always()); return err },
		"Delete":  func() error { return s.Delete(ctx, "k", store.Always()) },
		"List":    func() error { _, _, err := s.List(ctx, "", "", 1); return err },
		"Watch":   func() error { _, err := s.Watch(""); return err },
		"Next":    func() error { _, err := w.Next(ctx); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	w.Close()
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func again(t *testing.T, f Fixture) {
	v := put(t, f.Store, "k", "kept", time.Hour, store.Always())
	before := want(t, f.Store, "k", "kept")
	put(t, f.Store, "gone", "", 0, store.Always())
	if err := f.Store.Delete(t.Context(), "gone", store.Always()); err != nil {
		t.Fatal(err)
	}
	s := f.Again(t)
	if it := want(t, s, "k", "kept"); it.Version != v || !it.Expires.Equal(before.Expires) {
		t.Errorf("version %d, expires %v, want %d, %v", it.Version, it.Expires, v, before.Expires)
	}
	want(t, s, "gone", "-")
	if next := put(t, s, "k", "next", 0, store.IfVersion(v)); next <= v {
		t.Errorf("version %d after %d", next, v)
	}
}
