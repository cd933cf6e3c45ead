package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Group commit: while one group is being synced to the disk, the next one gathers.
// A lone writer pays one sync and no waiting, a thousand share one.
const (
	maxGroup      = 1024    // writes in one commit
	maxGroupBytes = 4 << 20 // of values in one commit
	sweepStep     = 512     // expired items cleared away in one commit
)

// errNoChange rolls a transaction back that would change nothing, which saves the
// sync.
var errNoChange = errors.New("store: nothing to commit")

// A boltWrite is one Put or Delete on its way through the writer.
type boltWrite struct {
	ctx   context.Context
	key   string
	rec   []byte // a record still without its header; nil for Delete
	ttlMS int64  // 0: for ever
	cond  Cond

	version uint64
	err     error
	done    chan struct{} // closed once version and err are set
}

// Put implements Store.
func (b *Bolt) Put(ctx context.Context, key string, value []byte, ttl time.Duration, cond Cond) (uint64, error) {
	ttlMS, err := checkPut(key, value, ttl)
	if err != nil {
		return 0, err
	}
	// A copy: the writer may still be at it when ctx ends this call.
	rec := make([]byte, recordHeader+len(value))
	copy(rec[recordHeader:], value)
	return b.submit(ctx, &boltWrite{key: key, rec: rec, ttlMS: ttlMS, cond: cond})
}

// Delete implements Store.
func (b *Bolt) Delete(ctx context.Context, key string, cond Cond) error {
	if err := checkKey(key); err != nil {
		return err
	}
	_, err := b.submit(ctx, &boltWrite{key: key, cond: cond})
	return err
}

// submit hands w to the writer and waits until it is committed.
func (b *Bolt) submit(ctx context.Context, w *boltWrite) (uint64, error) {
	own, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	w.ctx, w.done = own, make(chan struct{})
	select {
	case b.queue <- w:
	case <-b.stop:
		return 0, ErrClosed
	case <-own.Done():
		return 0, late(ctx)
	}
	select {
	case <-w.done:
		return w.version, w.err
	case <-b.done:
		// The writer has ended, perhaps after it served w.
		select {
		case <-w.done:
			return w.version, w.err
		default:
			return 0, ErrClosed
		}
	case <-own.Done():
		return 0, late(ctx)
	}
}

// late is the error of a call that took too long: for its caller, or else for us.
func late(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return fmt.Errorf("%w: timed out", ErrUnavailable)
}

// write is the goroutine that makes all changes to the file.
func (b *Bolt) write() {
	defer close(b.done)
	tick := time.NewTicker(b.o.Sweep)
	defer tick.Stop()
	failing := false
	report := func(err error) {
		if (err != nil) == failing {
			return
		}
		failing = err != nil
		if failing {
			b.o.Log.Error().Err(err).Str("path", b.db.Path()).Msg("the store cannot write; writes fail until it can")
		} else {
			b.o.Log.Info().Str("path", b.db.Path()).Msg("the store can write again")
		}
	}
	sweeping := make(chan struct{}, 1) // holds a token while there is more to sweep
	for {
		select {
		case <-b.stop:
			return
		case w := <-b.queue:
			report(b.commit(b.gather(w)))
		case <-tick.C:
			select {
			case sweeping <- struct{}{}:
			default:
			}
		case <-sweeping:
			n, err := b.sweep()
			report(err)
			if err == nil && n == sweepStep {
				sweeping <- struct{}{}
			}
		}
	}
}

// gather returns first and what else is waiting, up to the size of a group.
func (b *Bolt) gather(first *boltWrite) []*boltWrite {
	group, size := []*boltWrite{first}, len(first.rec)
	for len(group) < maxGroup && size < maxGroupBytes {
		select {
		case w := <-b.queue:
			group, size = append(group, w), size+len(w.rec)
		default:
			return group
		}
	}
	return group
}

// commit applies group, in order, in one transaction, and tells the callers and the
// Watchers.
func (b *Bolt) commit(group []*boltWrite) error {
	var changes []Change
	err := b.db.Update(func(tx *bbolt.Tx) error {
		now := b.now()
		for _, w := range group {
			if err := w.ctx.Err(); err != nil {
				w.err = fmt.Errorf("store: %w", err)
				continue
			}
			c, err := w.apply(tx, now)
			if err != nil {
				return err
			}
			if w.err == nil {
				changes = append(changes, c)
			}
		}
		if len(changes) == 0 {
			return errNoChange
		}
		return nil
	})
	if errors.Is(err, errNoChange) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		for _, w := range group {
			w.version, w.err = 0, err
		}
	} else {
		b.hub.notify(changes...)
	}
	for _, w := range group {
		close(w.done)
	}
	return err
}

// apply makes one change. Its error is the file's; what is wrong with the write
// itself goes to w.err.
func (w *boltWrite) apply(tx *bbolt.Tx, now int64) (Change, error) {
	items, expiry := tx.Bucket([]byte(bucketItems)), tx.Bucket([]byte(bucketExpiry))
	key := []byte(w.key)
	version, expires := readRecord(items.Get(key))
	current := version
	if past(expires, now) {
		current = 0 // still in the file, but for nobody to see
	}
	switch {
	case w.rec == nil && current == 0:
		w.err = ErrNotFound
		return Change{}, nil
	case !w.cond.holds(current):
		w.err = ErrConflict
		return Change{}, nil
	}
	if version != 0 && expires != 0 {
		if err := expiry.Delete(expiryKey(expires, w.key)); err != nil {
			return Change{}, err
		}
	}
	if w.rec == nil {
		return Change{Kind: Deleted, Key: w.key}, items.Delete(key)
	}
	next, err := items.NextSequence()
	if err != nil {
		return Change{}, err
	}
	expires = 0
	if w.ttlMS != 0 {
		expires = now + w.ttlMS
		if err := expiry.Put(expiryKey(expires, w.key), nil); err != nil {
			return Change{}, err
		}
	}
	w.version = next
	putRecord(w.rec, next, expires)
	return Change{Kind: Written, Key: w.key, Version: next}, items.Put(key, w.rec)
}

// expiryKey is the key in the expiry bucket; in its order what expires first is first.
func expiryKey(expires int64, key string) []byte {
	b := make([]byte, 8, 8+len(key))
	binary.BigEndian.PutUint64(b, uint64(expires))
	return append(b, key...)
}

// sweep clears up to sweepStep expired items away and returns how many.
func (b *Bolt) sweep() (n int, err error) {
	now := b.now()
	var old [][]byte
	err = b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucketExpiry)).Cursor()
		for k, _ := c.First(); len(k) > 8 && len(old) < sweepStep; k, _ = c.Next() {
			if !past(int64(binary.BigEndian.Uint64(k)), now) {
				break
			}
			old = append(old, append([]byte{}, k...))
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	// Nobody else writes, so that what was found is still so.
	err = b.db.Update(func(tx *bbolt.Tx) error {
		items, expiry := tx.Bucket([]byte(bucketItems)), tx.Bucket([]byte(bucketExpiry))
		for _, k := range old {
			if err := items.Delete(k[8:]); err != nil {
				return err
			}
			if err := expiry.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return len(old), err
}
