package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/skyminer/skywire/controlplane/store"
)

// list returns the keys under prefix, read in pages of limit, and checks what must
// hold of every page.
func list(t *testing.T, s store.Store, prefix string, limit int) []string {
	t.Helper()
	var keys []string
	for after, page := "", 0; ; page++ {
		items, next, err := s.List(t.Context(), prefix, after, limit)
		if err != nil {
			t.Fatalf("List(%q, %q, %d): %v", prefix, after, limit, err)
		}
		if len(items) > limit {
			t.Fatalf("List(%q, %q, %d) returned %d items", prefix, after, limit, len(items))
		}
		for _, it := range items {
			if it.Version == 0 || next != "" && it.Key > next {
				t.Fatalf("item %q at version %d on a page that goes on after %q", it.Key, it.Version, next)
			}
			keys = append(keys, it.Key)
		}
		if next == "" {
			break
		}
		if next <= after || page > 10000 {
			t.Fatalf("page after %q goes on after %q", after, next)
		}
		after = next
	}
	if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
		t.Fatalf("keys out of order or twice: %q", keys)
	}
	return keys
}

func pages(t *testing.T, f Fixture) {
	s := f.Store
	if got := list(t, s, "", 10); len(got) != 0 {
		t.Fatalf("an empty store lists %q", got)
	}
	var a []string
	for i := range 300 {
		k := fmt.Sprintf("a/%03d", i)
		a = append(a, k)
		put(t, s, k, k, 0, store.Always())
	}
	put(t, s, "a", "", 0, store.Always())
	put(t, s, "a0", "", 0, store.Always())
	put(t, s, "b/1", "", 0, store.Always())
	for _, limit := range []int{1, 7, 100, 299, 300, 301, store.MaxPage} {
		if got := list(t, s, "a/", limit); !slices.Equal(got, a) {
			t.Errorf("pages of %d: %d keys: %q", limit, len(got), got)
		}
	}
	if got := list(t, s, "", 50); len(got) != 303 || got[0] != "a" || got[302] != "b/1" {
		t.Errorf("all: %d keys: %q", len(got), got)
	}
	if got := list(t, s, "c", 50); len(got) != 0 {
		t.Errorf("under c: %q", got)
	}
	for _, tt := range []struct{ after, first string }{
		{"", "a/000"}, {"Z", "a/000"}, {"a", "a/000"}, {"a/", "a/000"}, {"a/000", "a/001"}, {"a/0005", "a/001"}, {"a/298", "a/299"}, {"a/299", ""}, {"b", ""},
	} {
		items, next, err := s.List(t.Context(), "a/", tt.after, 1)
		got := ""
		if len(items) > 0 {
			got = items[0].Key
		}
		if err != nil || got != tt.first || (next == "") != (got == "" || got == "a/299") {
			t.Errorf("after %q: %q, goes on after %q, %v, want %q", tt.after, got, next, err, tt.first)
		}
	}
	n := 0
	for it, err := range store.All(t.Context(), s, "a/") {
		if err != nil || it.Key != a[n] || string(it.Value) != a[n] {
			t.Fatalf("All: item %d is %q, %v", n, it.Key, err)
		}
		n++
	}
	if n != len(a) {
		t.Errorf("All yields %d items", n)
	}

	// What is deleted or added beside the page disturbs nobody else.
	items, next, err := s.List(t.Context(), "a/", "", 100)
	if err != nil || len(items) == 0 {
		t.Fatal(err)
	}
	seen := len(items)
	for _, k := range []string{"a/000", next} {
		if err := s.Delete(t.Context(), k, store.Always()); err != nil {
			t.Fatal(err)
		}
	}
	for next != "" {
		if items, next, err = s.List(t.Context(), "a/", next, 100); err != nil {
			t.Fatal(err)
		}
		seen += len(items)
	}
	if seen != 300 {
		t.Errorf("saw %d items while two that were read already were deleted, want 300", seen)
	}
}

func pagesOfBytes(t *testing.T, f Fixture) {
	keys := []string{"\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\xfe", "a\xff", "a\xff\x01", "a\xff\xff", "b", "\xff", "\xff\x00", "\xff\xff", "\xff\xffz"}
	for _, k := range keys {
		put(t, f.Store, k, k, 0, store.Always())
	}
	for _, prefix := range []string{"", "a", "a\xff", "\xff", "\xff\xff", "\x00", "b", "c"} {
		var under []string
		for _, k := range keys {
			if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
				under = append(under, k)
			}
		}
		slices.Sort(under)
		for _, limit := range []int{1, 2, 100} {
			if got := list(t, f.Store, prefix, limit); !slices.Equal(got, under) {
				t.Errorf("under %q in pages of %d: %q, want %q", prefix, limit, got, under)
			}
		}
	}
}
