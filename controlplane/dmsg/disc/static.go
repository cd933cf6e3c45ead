package disc

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Static is a directory in memory: for a deployment whose servers stand in a
// file, and for tests. The zero value is empty and ready.
type Static struct {
	mu      sync.RWMutex
	entries map[cipher.PubKey]*Entry
}

var _ Directory = (*Static)(nil)

// NewStatic returns a directory of entries, which need not be signed.
func NewStatic(entries ...*Entry) *Static {
	s := &Static{}
	for _, e := range entries {
		s.Add(e)
	}
	return s
}

// Add puts e without asking for a signature or a sequence. e becomes shared.
func (s *Static) Add(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[cipher.PubKey]*Entry)
	}
	s.entries[e.Static] = e
}

// Entry implements Directory.
func (s *Static) Entry(_ context.Context, pk cipher.PubKey) (*Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e, ok := s.entries[pk]; ok {
		return e, nil
	}
	return nil, ErrNotFound
}

// AvailableServers implements Directory.
func (s *Static) AvailableServers(context.Context) ([]*Entry, error) {
	return s.servers(func(e *Entry) bool { return e.Server.AvailableSessions > 0 })
}

// AllServers implements Directory.
func (s *Static) AllServers(context.Context) ([]*Entry, error) {
	return s.servers(func(*Entry) bool { return true })
}

func (s *Static) servers(want func(*Entry) bool) ([]*Entry, error) {
	s.mu.RLock()
	var list []*Entry
	for _, e := range s.entries {
		if e.Server != nil && want(e) {
			list = append(list, e)
		}
	}
	s.mu.RUnlock()
	if len(list) == 0 {
		return nil, ErrNoServers
	}
	slices.SortFunc(list, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(b.Server.AvailableSessions, a.Server.AvailableSessions), a.Static.Compare(b.Static))
	})
	return list, nil
}

// Put implements Directory: the entry must be signed and newer than what is there.
func (s *Static) Put(_ context.Context, e *Entry) error {
	if err := e.Verify(); err != nil {
		return ErrUnauthorized
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.entries[e.Static]; ok && e.Sequence <= old.Sequence {
		return ErrSequence
	}
	if s.entries == nil {
		s.entries = make(map[cipher.PubKey]*Entry)
	}
	s.entries[e.Static] = e
	return nil
}

// Delete implements Directory: the entry must be signed and not older than what is
// there.
func (s *Static) Delete(_ context.Context, e *Entry) error {
	if err := e.Verify(); err != nil {
		return ErrUnauthorized
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.entries[e.Static]
	switch {
	case !ok:
		return ErrNotFound
	case e.Sequence < old.Sequence:
		return ErrSequence
	}
	delete(s.entries, e.Static)
	return nil
}
