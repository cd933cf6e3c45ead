package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Buckets and keys of the file. items: key → record; expiry: expires (ms, u64 big
// endian) ‖ key → nothing, one for each item that expires; meta: format → "1".
// The last version is the sequence number of items.
const (
	bucketItems  = "items"
	bucketExpiry = "expiry"
	bucketMeta   = "meta"
	keyFormat    = "format"
	boltFormat   = "1"
)

// listScan is how many records beyond its limit one List looks at, where expired
// ones stand in the way.
const listScan = 4096

// A Bolt is the embedded Store: one file, one process. Reads run side by side on
// the last committed state; writes are committed in groups by one goroutine.
type Bolt struct {
	db    *bbolt.DB
	o     Options
	hub   hub
	queue chan *boltWrite
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has ended
	once  sync.Once
	err   error // of closing the file
}

var _ Store = (*Bolt)(nil)

// OpenBolt opens the file at path, or makes it (mode 0600) in a folder that exists.
// It waits up to o.Timeout for another process that has it open, then fails with
// ErrUnavailable.
func OpenBolt(ctx context.Context, path string, o Options) (*Bolt, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf("%w: no path of a file (bolt:///path/file.db)", ErrInvalid)
	}
	_, err := os.Stat(path)
	isNew := errors.Is(err, os.ErrNotExist)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	bo := *bbolt.DefaultOptions
	bo.Timeout, bo.FreelistType = o.Timeout, bbolt.FreelistMapType
	db, err := bbolt.Open(path, 0o600, &bo)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is in use by another process; stop it or choose another file", ErrUnavailable, path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("store: %s is not the file of a store, or damaged: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("store: open: %w", err)
	}
	if err := prepare(db, path, isNew); err != nil {
		db.Close()
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
		o.Log.Warn().Str("path", path).Stringer("mode", st.Mode().Perm()).Msg("others may read the file of the store; chmod 600 it")
	}
	b := &Bolt{
		db: db, o: o,
		queue: make(chan *boltWrite, maxGroup), stop: make(chan struct{}), done: make(chan struct{}),
	}
	b.hub.set(true)
	go b.write()
	return b, nil
}

// prepare makes the buckets of a new file and checks the format of an old one.
func prepare(db *bbolt.DB, path string, isNew bool) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketItems, bucketExpiry, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(bucketMeta))
		switch v := string(meta.Get([]byte(keyFormat))); v {
		case boltFormat:
			return nil
		case "":
			return meta.Put([]byte(keyFormat), []byte(boltFormat))
		default:
			return fmt.Errorf("it has format %q, this program knows %s", v, boltFormat)
		}
	})
	if err != nil {
		return fmt.Errorf("store: prepare %s: %w", path, err)
	}
	if !isNew {
		return nil
	}
	// The name of a new file must survive a power cut as well as its content.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("store: open folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("store: sync folder: %w", err)
	}
	return nil
}

// now returns the time in ms.
func (b *Bolt) now() int64 { return b.o.Now().UnixMilli() }

// view runs f on the last committed state.
func (b *Bolt) view(ctx context.Context, f func(items *bbolt.Bucket)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: read: %w", err)
	}
	err := b.db.View(func(tx *bbolt.Tx) error {
		f(tx.Bucket([]byte(bucketItems)))
		return nil
	})
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return ErrClosed
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Get implements Store.
func (b *Bolt) Get(ctx context.Context, key string) (Item, error) {
	if err := checkKey(key); err != nil {
		return Item{}, err
	}
	it := Item{Key: key}
	now := b.now()
	err := b.view(ctx, func(items *bbolt.Bucket) { it.load(items.Get([]byte(key)), now) })
	if err != nil {
		return Item{}, err
	}
	if it.Version == 0 {
		return Item{}, ErrNotFound
	}
	return it, nil
}

// GetMany implements Store; here the items are of one moment.
func (b *Bolt) GetMany(ctx context.Context, keys []string) ([]Item, error) {
	if err := checkMany(keys); err != nil {
		return nil, err
	}
	got := make([]Item, len(keys))
	now := b.now()
	err := b.view(ctx, func(items *bbolt.Bucket) {
		for i, k := range keys {
			got[i].Key = k
			got[i].load(items.Get([]byte(k)), now)
		}
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// List implements Store.
func (b *Bolt) List(ctx context.Context, prefix, after string, limit int) (got []Item, next string, err error) {
	if err := checkList(prefix, after, limit); err != nil {
		return nil, "", err
	}
	start, exclusive := listStart(prefix, after)
	now := b.now()
	err = b.view(ctx, func(items *bbolt.Bucket) {
		c := items.Cursor()
		last, seen := "", 0
		for k, v := c.Seek([]byte(start)); k != nil && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
			if exclusive && string(k) == start {
				continue
			}
			if len(got) == limit || seen == limit+listScan {
				next = last
				return
			}
			last = string(k)
			seen++
			it := Item{Key: last}
			if it.load(v, now); it.Version != 0 {
				got = append(got, it)
			}
		}
	})
	if err != nil {
		return nil, "", err
	}
	return got, next, nil
}

// Watch implements Store.
func (b *Bolt) Watch(prefix string) (*Watcher, error) { return b.hub.watch(prefix) }

// Close implements Store: what was acknowledged is in the file, what waits fails
// with ErrClosed.
func (b *Bolt) Close() error {
	b.once.Do(func() {
		close(b.stop)
		<-b.done
		b.hub.close()
		if err := b.db.Close(); err != nil {
			b.err = fmt.Errorf("store: close: %w", err)
		}
	})
	return b.err
}
