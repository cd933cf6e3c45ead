package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// A Kind says what a Change is about.
type Kind uint8

// The kinds of changes.
const (
	// Written: Key now has Version, or a later one.
	Written Kind = iota + 1
	// Deleted: Key was deleted (not: has expired).
	Deleted
	// Resync: from here on changes are reported, but some before may be missing.
	// What a cache holds may be stale. The first change of every Watcher is this.
	Resync
	// Lost: changes are not reported at the moment; a Resync will follow.
	Lost
)

// A Change is a notice for caches. It is a hint: it comes soon after the write, in
// order for one key, and not always (then there is a Resync). It may overtake the
// answer to a read that began before the write: a cache keeps the higher version.
type Change struct {
	Kind    Kind
	Key     string // for Written and Deleted
	Version uint64 // for Written
}

// maxPending is how many changes wait for one Watcher; 4,096 keys of 70 bytes are
// some 400 KiB. One more, and all of them become a single Resync.
const maxPending = 4096

// A Watcher collects changes until somebody asks for them. Its methods may be
// called concurrently; it needs no goroutine.
type Watcher struct {
	prefix string
	hub    *hub
	wake   chan struct{} // holds a token while there may be something to fetch
	done   chan struct{} // closed by end

	mu      sync.Mutex
	pending []Change
	ended   bool
}

// Next waits until there are changes and returns all of them. It fails with the
// error of ctx, and with ErrClosed after Close of the Watcher or of the store. The
// slice is the caller's.
func (w *Watcher) Next(ctx context.Context) ([]Change, error) {
	for {
		w.mu.Lock()
		got, ended := w.pending, w.ended
		w.pending = nil
		w.mu.Unlock()
		switch {
		case ended:
			return nil, ErrClosed
		case len(got) > 0:
			return got, nil
		}
		select {
		case <-w.wake:
		case <-w.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("store: watch: %w", ctx.Err())
		}
	}
}

// Close ends the watch; a waiting Next returns. It may be called again.
func (w *Watcher) Close() {
	w.hub.remove(w)
	w.end()
}

// end makes Next fail from now on.
func (w *Watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended, w.pending = true, nil
		close(w.done)
	}
}

// add queues c.
func (w *Watcher) add(c Change) {
	w.mu.Lock()
	switch {
	case c.Kind == Lost || c.Kind == Resync:
		// Whatever was pending is covered by what must be done anyway.
		w.pending = append(w.pending[:0], c)
	case len(w.pending) >= maxPending:
		w.pending = append(w.pending[:0], Change{Kind: Resync})
	default:
		w.pending = append(w.pending, c)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// A hub hands changes to the Watchers of one store. The zero value is ready, and
// not live: call set.
type hub struct {
	mu       sync.Mutex
	watchers map[*Watcher]struct{}
	live     bool // changes arrive; the last of Resync and Lost was Resync
	closed   bool
}

// watch adds a Watcher for the keys under prefix. Where changes arrive already it
// begins with a Resync, else that comes as soon as they do.
func (h *hub) watch(prefix string) (*Watcher, error) {
	w := &Watcher{prefix: prefix, hub: h, wake: make(chan struct{}, 1), done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.watchers == nil {
		h.watchers = make(map[*Watcher]struct{})
	}
	h.watchers[w] = struct{}{}
	if h.live {
		w.add(Change{Kind: Resync})
	}
	return w, nil
}

// remove forgets w.
func (h *hub) remove(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// set tells every Watcher whether changes arrive from now on: a Resync if they do,
// a Lost if they did and do no longer.
func (h *hub) set(live bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kind := Lost
	if live {
		kind = Resync
	}
	if live || h.live {
		for w := range h.watchers {
			w.add(Change{Kind: kind})
		}
	}
	h.live = live
}

// notify hands cs, in their order, to those who watch for them.
func (h *hub) notify(cs ...Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		for _, c := range cs {
			if strings.HasPrefix(c.Key, w.prefix) {
				w.add(c)
			}
		}
	}
}

// close ends every Watcher and refuses new ones.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		w.end()
	}
	h.watchers = nil
}
