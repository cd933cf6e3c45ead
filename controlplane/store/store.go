// Package store keeps small values under byte-string keys for a limited time. The
// deployment's services hold their entries in it: in one file where a machine is
// enough (bbolt, the default), in Redis where several instances serve the same
// data. Both behave alike; the suite in storetest says what that means.
//
// A namespace is a prefix of the key that ends in a slash ("dmsg/entry/"). Each
// write gives the value a new version, which never comes back, not even after the
// key was deleted or has expired: compare-and-swap on it is safe.
//
// What a write has acknowledged is durable: on bbolt it is synced to the disk, on
// Redis it is as safe as the server's own settings make it (see [Open]).
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Limits of every store. They bound what a hostile client of a service can make
// the store hold or answer at a time.
const (
	MaxKey   = 512      // bytes in a key; at least 1
	MaxValue = 64 << 10 // bytes in a value; may be 0
	MaxMany  = 1024     // keys in one GetMany
	MaxPage  = 1024     // items in one List
	// MaxTTL is the longest life that can be asked for; use 0 for ever.
	MaxTTL = 10 * 365 * 24 * time.Hour
)

// What callers branch on.
var (
	// ErrNotFound says that there is no such key or that it has expired.
	ErrNotFound = errors.New("store: no such key")
	// ErrConflict says that the condition of a write did not hold; nothing changed.
	ErrConflict = errors.New("store: the value was changed meanwhile")
	// ErrUnavailable says that the store cannot be reached or cannot serve at the
	// moment. It heals by itself: try again later. A write that fails so may have
	// happened all the same; a conditional one can be repeated safely.
	ErrUnavailable error = away("store: not available")
	// ErrClosed is returned by every call after Close.
	ErrClosed error = away("store: closed")
	// ErrInvalid says that an argument breaks one of the limits above.
	ErrInvalid = errors.New("store: invalid argument")
)

// away is an error that says that the store does not serve at the moment. Its method is
// for those who must know that much without knowing of stores.
type away string

func (e away) Error() string { return string(e) }

// Unavailable marks the error.
func (away) Unavailable() {}

// An Item is a value and what is known of it. Its memory is the caller's.
type Item struct {
	Key     string
	Value   []byte
	Version uint64    // ≥ 1, below 2^53, rises with each write of this key
	Expires time.Time // by the store's clock, whole milliseconds; zero: never
}

// A Cond is a condition on what a key holds when it is written. The zero value
// always holds.
type Cond struct {
	check   bool
	version uint64 // 0: absent
}

// Always is the condition that holds whatever is there.
func Always() Cond { return Cond{} }

// IfAbsent holds where the key does not exist or has expired.
func IfAbsent() Cond { return Cond{check: true} }

// IfVersion holds where the key exists at version v, as Get or Put returned it.
// IfVersion(0) is IfAbsent.
func IfVersion(v uint64) Cond { return Cond{check: true, version: v} }

// holds says whether c holds for a key at version v (0: absent).
func (c Cond) holds(v uint64) bool { return !c.check || c.version == v }

// A Store keeps items. All methods may be called concurrently. Every write is
// atomic, and a read sees every write that was acknowledged before it began.
//
// Arguments are borrowed for the length of the call. Besides the errors named at
// each method, all may fail with ErrUnavailable, ErrClosed, ErrInvalid and the
// error of ctx. Without a deadline in ctx a call still ends: see Options.Timeout.
type Store interface {
	// Get returns the item under key, or ErrNotFound.
	Get(ctx context.Context, key string) (Item, error)

	// GetMany looks up to MaxMany keys up at once: items[i] belongs to keys[i]; its
	// Version is 0 where there is none. The items need not be of one moment.
	GetMany(ctx context.Context, keys []string) (items []Item, err error)

	// Put writes value under key for the time ttl (0: for ever; rounded up to whole
	// milliseconds), counted from now, and returns the new version. It fails with
	// ErrConflict where cond does not hold.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration, cond Cond) (version uint64, err error)

	// Delete removes key. It fails with ErrNotFound where there is nothing to
	// remove and with ErrConflict where there is but cond does not hold.
	Delete(ctx context.Context, key string, cond Cond) error

	// List returns up to limit (1 to MaxPage) items whose keys begin with prefix and
	// are greater than after, in the order of the keys' bytes, and where to go on:
	// the after of the next page, or "" after the last one. A page may be shorter
	// than limit, even empty, and not be the last. Items that are neither written
	// nor expire between the first page and the last appear exactly once.
	List(ctx context.Context, prefix, after string, limit int) (items []Item, next string, err error)

	// Watch reports writes and deletions of keys that begin with prefix, by this and
	// by other processes, until the Watcher or the store is closed. Expiry is not
	// reported: Item.Expires says it beforehand.
	Watch(prefix string) (*Watcher, error)

	// Close stops the store's goroutines, waits for the calls under way and for
	// their writes, and releases file and connections. It may be called again.
	Close() error
}

// All lists the items under prefix page by page. It stops after the first error.
func All(ctx context.Context, s Store, prefix string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for after := ""; ; {
			items, next, err := s.List(ctx, prefix, after, MaxPage)
			if err != nil {
				yield(Item{}, err)
				return
			}
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// checkKey says whether key is one.
func checkKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: a key of %d bytes (1 to %d are allowed)", ErrInvalid, len(key), MaxKey)
	}
	return nil
}

// checkMany is checkKey for the keys of a GetMany.
func checkMany(keys []string) error {
	if len(keys) > MaxMany {
		return fmt.Errorf("%w: %d keys at once (up to %d are allowed)", ErrInvalid, len(keys), MaxMany)
	}
	for _, k := range keys {
		if err := checkKey(k); err != nil {
			return err
		}
	}
	return nil
}

// checkPut checks the arguments of Put and returns ttl in milliseconds, rounded up.
func checkPut(key string, value []byte, ttl time.Duration) (ttlMS int64, err error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if len(value) > MaxValue {
		return 0, fmt.Errorf("%w: a value of %d bytes (up to %d are allowed)", ErrInvalid, len(value), MaxValue)
	}
	if ttl < 0 || ttl > MaxTTL {
		return 0, fmt.Errorf("%w: a time to live of %v (0 to %v is allowed)", ErrInvalid, ttl, MaxTTL)
	}
	return int64((ttl + time.Millisecond - 1) / time.Millisecond), nil
}

// checkList checks the arguments of List.
func checkList(prefix, after string, limit int) error {
	if len(prefix) > MaxKey || len(after) > MaxKey {
		return fmt.Errorf("%w: a prefix or start of more than %d bytes", ErrInvalid, MaxKey)
	}
	if limit < 1 || limit > MaxPage {
		return fmt.Errorf("%w: a page of %d items (1 to %d are allowed)", ErrInvalid, limit, MaxPage)
	}
	return nil
}

// listStart returns the smallest possible key of a page and whether that very key
// is excluded.
func listStart(prefix, after string) (start string, exclusive bool) {
	if after != "" && strings.Compare(after, prefix) >= 0 {
		return after, true
	}
	return prefix, false
}
