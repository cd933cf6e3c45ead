package dmsgdisc

import (
	"context"
	"errors"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// remove deletes the entry that e speaks of, if e shows that its author wants that:
//   - e is newer than the entry, so nobody can have looked it up;
//   - the caller proved over dmsg to be the author;
//   - e is the entry itself, as deployed clients send it, and comes from where the
//     entry was published.
//
// A mark stays until no entry can be taken for a new one that was there before.
func (s *Service) remove(ctx context.Context, e *disc.Entry, caller httpd.Caller) error {
	if e.Static.IsZero() {
		return disc.ErrNoKey
	}
	// What a server looks up of itself has the type that it was given.
	if err := s.prove(e.VerifyServed); err != nil {
		return err
	}
	now := s.o.Now()
	key := keyOf(e.Static)
	for try := range writeTries {
		old, err := s.read(ctx, key)
		if err != nil {
			return err
		}
		if old.entry == nil {
			return nil // as it was wanted
		}
		newer := e.Sequence > old.entry.Sequence && e.Timestamp > old.entry.Timestamp
		same := e.Sequence == old.entry.Sequence && e.Timestamp == old.entry.Timestamp
		switch {
		case newer, e.Sequence >= old.entry.Sequence && caller.PK == e.Static:
		case same && old.origin == originOf(e.Static, caller.Source()):
		case same:
			return disc.ErrOutdated
		default:
			return disc.ErrSequence
		}
		// As for publishing, only what is the author's counts for the author.
		if try == 0 && !s.keys.Allow(httpd.Source(e.Static), now) {
			return disc.ErrRateLimited
		}
		// An author whose clock was ahead is not to wait until it has come true.
		removed := min(max(e.Timestamp, old.entry.Timestamp), now.Add(maxAge).UnixNano())
		mark := record{removed: removed}
		version, err := s.store.Put(ctx, key, mark.encode(), s.o.QuietTTL, store.IfVersion(old.version))
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		s.forget(e.Static, version)
		return nil
	}
	return disc.ErrSequence
}

// deregister deletes others' entries, as a monitor wants. They may publish again.
func (s *Service) deregister(ctx context.Context, pks []cipher.PubKey) error {
	for _, pk := range pks {
		known := s.mirror.version(pk) // what is published from here on stays
		if err := s.store.Delete(ctx, keyOf(pk), store.Always()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s.mirror.drop(pk, known)
	}
	return nil
}

// forget makes the mirror know that the entry of pk is deleted as of version.
func (s *Service) forget(pk cipher.PubKey, version uint64) {
	s.mirror.put(newItem(pk, nil, version, s.o.Now().Add(s.o.QuietTTL)))
}
