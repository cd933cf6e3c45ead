package dmsgdisc

import (
	"context"
	"errors"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// The service is itself a directory, for its own dmsg client: so it needs nobody
// to be found.
var _ disc.Directory = (*Service)(nil)

// Entry implements disc.Directory.
func (s *Service) Entry(ctx context.Context, pk cipher.PubKey) (*disc.Entry, error) {
	it, err := s.lookup(ctx, pk)
	if err != nil {
		return nil, err
	}
	return disc.Parse(it.raw)
}

// AvailableServers implements disc.Directory.
func (s *Service) AvailableServers(context.Context) ([]*disc.Entry, error) {
	return s.servers(func(it *item) bool { return it.server && it.available > 0 })
}

// AllServers implements disc.Directory.
func (s *Service) AllServers(context.Context) ([]*disc.Entry, error) {
	return s.servers(func(it *item) bool { return it.server })
}

func (s *Service) servers(want func(*item) bool) ([]*disc.Entry, error) {
	items := s.mirror.collect(s.o.Now(), want)
	var list []*disc.Entry
	for _, it := range items {
		e, err := disc.Parse(it.raw)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, disc.ErrNoServers
	}
	return list, nil
}

// Put implements disc.Directory.
func (s *Service) Put(ctx context.Context, e *disc.Entry) error {
	if e.Raw() == nil {
		return errors.New("dmsgdisc: the entry is not signed")
	}
	_, err := s.publish(ctx, e, httpd.Source(e.Static), false)
	return err
}

// Delete implements disc.Directory.
func (s *Service) Delete(ctx context.Context, e *disc.Entry) error {
	return s.remove(ctx, e, httpd.Caller{PK: e.Static})
}
