package dmsgdisc

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
)

// The time of a server's entry may be this far off.
const (
	maxAge   = 60 * time.Second
	maxAhead = 5 * time.Second
)

// writeTries is how often a write is tried again after another one to the same key
// came between; more at once are a fault of the author's.
const writeTries = 8

// publish takes an entry and says whether it is the key's first.
func (s *Service) publish(ctx context.Context, e *disc.Entry, from httpd.Source, short bool) (first bool, err error) {
	now := s.o.Now()
	if err := s.check(e, now); err != nil {
		return false, err
	}
	if err := s.prove(e.Verify); err != nil {
		return false, err
	}
	e = e.WithServerType(s.serverType(e))
	next := record{origin: originOf(e.Static, from), raw: e.Raw()}
	key := keyOf(e.Static)
	for try := range writeTries {
		old, err := s.read(ctx, key)
		if err != nil {
			return false, err
		}
		if err := s.follows(e, old); err != nil {
			return false, err
		}
		if try == 0 {
			if err := s.charge(e, old, from, now); err != nil {
				return false, err
			}
		}
		next.refreshes = old.refreshesWith(e)
		ttl := s.ttl(e, next, short)
		version, err := s.store.Put(ctx, key, next.encode(), ttl, store.IfVersion(old.version))
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return false, err
		}
		s.mirror.put(newItem(e.Static, e, version, now.Add(ttl)))
		return old.entry == nil, nil
	}
	return false, disc.ErrSequence
}

// stored is what the store has for a key; the zero value is nothing.
type stored struct {
	record
	version uint64
	entry   *disc.Entry // nil: none, or deleted
}

// read returns what the store has.
func (s *Service) read(ctx context.Context, key string) (stored, error) {
	it, err := s.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, err
	}
	old := stored{version: it.Version}
	if old.record, err = decodeRecord(it.Value); err != nil {
		// Of another program or version: to be replaced.
		s.log.Warn().Err(err).Str("key", key).Msg("entry is replaced")
		return old, nil
	}
	if len(old.raw) > 0 {
		if old.entry, err = disc.Parse(old.raw); err != nil {
			s.log.Warn().Err(err).Str("key", key).Msg("entry is replaced")
			old.entry = nil
		}
	}
	return old, nil
}

// check says what is wrong with an entry by itself, in the order in which the
// deployed discovery looks.
func (s *Service) check(e *disc.Entry, now time.Time) error {
	if e.Server != nil && e.Server.Address != "" {
		if err := s.checkAddress(e.Server.Address); err != nil {
			return err
		}
	}
	switch {
	case e.Version == "":
		return disc.ErrNoVersion
	case e.Signature == "":
		return disc.ErrNoSignature
	case e.Static.IsZero():
		return disc.ErrNoKey
	case e.Client == nil && e.Server == nil:
		return disc.ErrNoRole
	case e.Server != nil && e.Server.Address == "":
		return disc.ErrNoServerAddress
	}
	// Clients may run on boards without a clock; servers may not.
	if age := now.Sub(e.Time()); e.Server != nil && (age > maxAge || age < -maxAhead) {
		return disc.ErrOutdated
	}
	return nil
}

// checkAddress says whether others can reach a server's address.
func (s *Service) checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return disc.ErrBadInput
	}
	if s.o.Testing {
		return nil
	}
	local := host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost")
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		local = ip.IsLoopback() || ip.IsUnspecified()
	}
	if local {
		return disc.ErrLocalAddress
	}
	return nil
}

// follows says whether e may take the place of old.
func (s *Service) follows(e *disc.Entry, old stored) error {
	switch {
	case old.entry == nil && e.Timestamp <= old.removed:
		return disc.ErrTimestampOrder // it was deleted since
	case old.entry == nil && s.mirror.len() >= s.o.MaxEntries:
		return errFull
	case old.entry == nil:
		return nil
	case e.Sequence <= old.entry.Sequence:
		return disc.ErrSequence
	case e.Timestamp < old.entry.Timestamp:
		return disc.ErrTimestampOrder
	}
	return nil
}

// charge counts an entry that may take the place of old against what the key may
// publish and the source may bring. Only its author can have made it, or else it
// would not be newer: entries are public, and who sends an old one again must not
// use up the allowance of its author.
func (s *Service) charge(e *disc.Entry, old stored, from httpd.Source, now time.Time) error {
	if !s.keys.Allow(httpd.Source(e.Static), now) || old.version == 0 && !s.fresh.Allow(from, now) {
		return disc.ErrRateLimited
	}
	return nil
}

// refreshesWith counts how often in a row the entry came again without a change,
// e being the next.
func (old *stored) refreshesWith(e *disc.Entry) uint8 {
	if old.refreshes >= refreshing {
		return refreshing
	}
	same := old.entry != nil && old.entry.Client != nil && e.Client != nil &&
		slices.Equal(old.entry.Client.DelegatedServers, e.Client.DelegatedServers)
	if !same {
		return 0
	}
	return old.refreshes + 1
}

// ttl returns how long an entry lives.
func (s *Service) ttl(e *disc.Entry, r record, short bool) time.Duration {
	switch {
	case e.Server != nil:
		return s.o.ServerTTL
	case short:
		return s.o.ShortTTL
	case r.refreshes >= refreshing:
		return s.o.ClientTTL
	default:
		return max(s.o.QuietTTL, s.o.ClientTTL)
	}
}

// serverType returns the type that a server is given out with.
func (s *Service) serverType(e *disc.Entry) string {
	if e.Server == nil {
		return ""
	}
	said := subtle.ConstantTimeCompare([]byte(e.Server.ServerType), []byte(s.o.AuthPassphrase)) == 1
	if s.official[e.Static] || said && s.o.AuthPassphrase != "" {
		return disc.Official
	}
	return disc.Community
}
