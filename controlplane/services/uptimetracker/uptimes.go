package uptimetracker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// maxMonths bounds a query, and the months that are kept in memory.
const maxMonths = 13

// A list is all records of a month, read at once. The maps are frozen once read.
type list struct {
	mu      sync.Mutex // held while it is read
	read    time.Time  // zero: never
	records map[cipher.PubKey]*record
}

// load returns the records of a month, up to Fresh old, or older while the store is
// gone. They are shared: read only.
func (s *Service) load(ctx context.Context, m month) (map[cipher.PubKey]*record, error) {
	l := s.list(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := s.o.Now()
	if !l.read.IsZero() && now.Sub(l.read) < s.o.Fresh {
		return l.records, nil
	}
	records := make(map[cipher.PubKey]*record, len(l.records))
	prefix := prefixOf(m)
	for it, err := range store.All(ctx, s.st, prefix) {
		if err != nil {
			if !l.read.IsZero() && errors.Is(err, store.ErrUnavailable) {
				return l.records, nil
			}
			return nil, err
		}
		pk, err := cipher.ParsePubKeyText(strings.TrimPrefix(it.Key, prefix))
		if err != nil {
			continue
		}
		if r, err := decode(it.Value); err == nil {
			records[pk] = r
		}
	}
	l.read, l.records = now, records
	return records, nil
}

// list returns the list of a month. Of other months some are forgotten, never the
// present one: who asks for the past must not have that read anew.
func (s *Service) list(m month) *list {
	now := monthOf(s.o.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.months[m]
	if l != nil {
		return l
	}
	for old := range s.months {
		if len(s.months) <= maxMonths {
			break
		}
		if old != now {
			delete(s.months, old)
		}
	}
	l = &list{}
	s.months[m] = l
	return l
}

// A query is what GET /uptimes asks for.
type query struct {
	visors     map[cipher.PubKey]bool // nil: all
	status     string                 // "on", "off" or ""
	daily      bool
	start, end month // both included
	ranged     bool  // start and end were given
}

// recent is how many days there are in Daily where no months were asked for.
const recent = 7

// uptimes answers a query, in the order of keys.
func (s *Service) uptimes(ctx context.Context, q query) ([]deployment.Uptime, error) {
	now := s.o.Now().UTC()
	// By month, the records that are needed: those of the range, and the one before for
	// the recent days.
	from := q.start
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	days := today.AddDate(0, 0, 1-recent)
	if q.daily && !q.ranged {
		from = monthOf(days)
	}
	all := make(map[month]map[cipher.PubKey]*record)
	seen := make(map[cipher.PubKey]bool)
	for m := from; !m.After(q.end.Time); m = m.next() {
		records, err := s.load(ctx, m)
		if err != nil {
			return nil, err
		}
		all[m] = records
		for pk := range records {
			if q.visors == nil || q.visors[pk] {
				seen[pk] = true
			}
		}
	}
	out := make([]deployment.Uptime, 0, len(seen))
	for _, pk := range slices.SortedFunc(maps.Keys(seen), cipher.PubKey.Compare) {
		u := deployment.Uptime{PK: pk}
		if q.daily {
			u.Daily = make(map[string]string)
		}
		var last *record
		var up, total int64
		for m := from; !m.After(q.end.Time); m = m.next() {
			r := all[m][pk]
			if r != nil {
				last = r
			}
			for day := m.Time; day.Before(m.next().Time) && !day.After(today); day = day.AddDate(0, 0, 1) {
				begun, n := slots(day, now), int64(0)
				if r != nil {
					n = min(int64(r.Days[day.Day()-1]), begun)
				}
				if !m.Before(q.start.Time) {
					up, total = up+n, total+begun
				}
				if q.daily && (q.ranged || !day.Before(days)) {
					u.Daily[day.Format(time.DateOnly)] = fmt.Sprintf("%.2f", percent(n, begun))
				}
			}
		}
		u.On = last.isOn(now)
		if q.status == "on" && !u.On || q.status == "off" && u.On {
			continue
		}
		u.Version = last.Version
		u.Up, u.Down = (time.Duration(up) * slot).Seconds(), (time.Duration(total-up) * slot).Seconds()
		u.Pct = percent(up, total)
		out = append(out, u)
	}
	return out, nil
}

func percent(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return min(100, 100*float64(n)/float64(of))
}
