package dmsg

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A slowDir is a discovery that takes its time, counts, and can be away.
type slowDir struct {
	disc.Static
	mu    sync.Mutex
	asked int
	err   error
	puts  int
}

func (d *slowDir) Entry(ctx context.Context, pk cipher.PubKey) (*disc.Entry, error) {
	d.mu.Lock()
	d.asked++
	err := d.err
	d.mu.Unlock()
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return d.Static.Entry(ctx, pk)
}

func (d *slowDir) Put(ctx context.Context, e *disc.Entry) error {
	d.mu.Lock()
	err := d.err
	d.puts++
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return d.Static.Put(ctx, e)
}

func (d *slowDir) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *slowDir) count() (asked, puts int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked, d.puts
}

// A mute discovery takes questions and says nothing, while on is set.
type mute struct {
	disc.Static
	mu sync.Mutex
	on bool
}

func (d *mute) set(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = on
}

func (d *mute) Entry(ctx context.Context, pk cipher.PubKey) (*disc.Entry, error) {
	d.mu.Lock()
	on := d.on
	d.mu.Unlock()
	if on {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.Static.Entry(ctx, pk)
}

// lookupsOn runs f in a bubble with lookups over dir.
func lookupsOn(t *testing.T, dir disc.Directory, f func(*lookups)) {
	synctest.Test(t, func(*testing.T) {
		var wg sync.WaitGroup
		f(&lookups{
			dir: dir, ctx: context.Background(), entries: map[cipher.PubKey]*lookup{},
			start: func(f func()) bool { wg.Go(f); return true },
		})
		wg.Wait()
	})
}

func TestLookups(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	ctx := context.Background()
	t.Run("many ask once", func(t *testing.T) {
		dir := &slowDir{}
		dir.Add(disc.NewClient(pk, "", nil, time.Now()))
		lookupsOn(t, dir, func(l *lookups) {
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if e, err := l.get(ctx, pk, entryLife); err != nil || e.Static != pk {
						t.Errorf("get: %v, %v", e, err)
					}
				})
			}
			wg.Wait()
			if asked, _ := dir.count(); asked != 1 {
				t.Errorf("asked %d times", asked)
			}
			time.Sleep(entryLife + 1)
			l.get(ctx, pk, entryLife)
			l.get(ctx, pk, entryLife)
			l.get(ctx, pk, 0) // wants it fresh
			if asked, _ := dir.count(); asked != 3 {
				t.Errorf("asked %d times, want 3", asked)
			}
		})
	})
	// Cut off, and not just gone: no answer, and no error before lookupTimeout.
	t.Run("a discovery that says nothing", func(t *testing.T) {
		dir := &mute{}
		dir.Add(disc.NewClient(pk, "", nil, time.Now()))
		lookupsOn(t, dir, func(l *lookups) {
			if _, err := l.get(ctx, pk, entryLife); err != nil {
				t.Fatal(err)
			}
			dir.set(true)
			for range 3 {
				time.Sleep(entryLife + 1)
				for _, maxAge := range []time.Duration{entryLife, 0} {
					start := time.Now()
					e, err := l.get(ctx, pk, maxAge)
					if took := time.Since(start); err != nil || e.Static != pk || took > lookupPatience {
						t.Errorf("get of a known peer: %v, %v after %v", e, err, took)
					}
				}
			}
			stranger, _ := cipher.GenerateKeyPair()
			start := time.Now()
			if _, err := l.get(ctx, stranger, entryLife); err == nil || time.Since(start) != lookupTimeout {
				t.Errorf("get of a stranger: %v after %v", err, time.Since(start))
			}
			dir.set(false)
			time.Sleep(absentLife + 1)
			if e, err := l.get(ctx, pk, absentLife); err != nil || e.Static != pk {
				t.Errorf("the discovery is back: %v, %v", e, err)
			}
		})
	})
	t.Run("absence is remembered briefly", func(t *testing.T) {
		dir := &slowDir{}
		lookupsOn(t, dir, func(l *lookups) {
			for range 2 {
				if _, err := l.get(ctx, pk, entryLife); !errors.Is(err, proto.ErrNoEntry) {
					t.Errorf("get: %v", err)
				}
			}
			dir.Add(disc.NewClient(pk, "", nil, time.Now()))
			time.Sleep(absentLife + 1)
			if _, err := l.get(ctx, pk, entryLife); err != nil {
				t.Errorf("get of a peer that came: %v", err)
			}
			if asked, _ := dir.count(); asked != 2 {
				t.Errorf("asked %d times, want 2", asked)
			}
		})
	})
	t.Run("what was known helps while the discovery is away", func(t *testing.T) {
		dir := &slowDir{}
		dir.Add(disc.NewClient(pk, "", nil, time.Now()))
		lookupsOn(t, dir, func(l *lookups) {
			l.get(ctx, pk, entryLife)
			dir.fail(disc.ErrUnexpected)
			time.Sleep(time.Hour)
			if e, err := l.get(ctx, pk, entryLife); err != nil || e.Static != pk {
				t.Errorf("get: %v, %v", e, err)
			}
			other, _ := cipher.GenerateKeyPair()
			if _, err := l.get(ctx, other, entryLife); !errors.Is(err, disc.ErrUnexpected) {
				t.Errorf("get of an unknown peer: %v", err)
			}
			// The discovery is asked again soon.
			before, _ := dir.count()
			time.Sleep(absentLife + 1)
			l.get(ctx, pk, entryLife)
			if asked, _ := dir.count(); asked != before+1 {
				t.Errorf("asked %d times more, want 1", asked-before)
			}
		})
	})
	t.Run("memory is bounded", func(t *testing.T) {
		lookupsOn(t, &slowDir{}, func(l *lookups) {
			for i := range maxLookups + 100 {
				var pk cipher.PubKey
				pk[1], pk[2] = byte(i), byte(i>>8)
				l.get(ctx, pk, entryLife)
			}
			if len(l.entries) != maxLookups {
				t.Errorf("%d entries", len(l.entries))
			}
		})
	})
	t.Run("who waits can give up", func(t *testing.T) {
		lookupsOn(t, &slowDir{}, func(l *lookups) {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			if _, err := l.get(ctx, pk, entryLife); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("get: %v", err)
			}
		})
	})
}
