package addressresolver

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/services/seat"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// checkAgain is after which time an address that was reachable is dialled again; one
// that was not is dialled at each bind.
const checkAgain = 10 * time.Minute

// bindTries is how often a bind that met another of the same key begins again.
const bindTries = 4

// bind puts the record of pk, which was seen at from.
func (s *Service) bind(ctx context.Context, pk cipher.PubKey, from netip.Addr, body []byte) (deployment.Bound, error) {
	port, local, in, err := parseBind(body)
	if err != nil {
		return deployment.Bound{}, err
	}
	if !s.keys.Allow(httpd.Source(pk), s.o.Now()) {
		return deployment.Bound{}, deployment.ErrRate
	}
	key, to := pk.String(), netip.AddrPortFrom(from, port)
	var checked *record
	for try := 1; ; try++ {
		old, known := s.records.Get(key)
		r := record{Remote: to, Local: local}
		if known {
			if r.Seat, err = old.Value.Take(in, seat.Class(from)); err != nil {
				return deployment.Bound{}, err
			}
		} else {
			if r.Seat, err = (seat.Seat{}).Take(in, seat.Class(from)); err != nil {
				return deployment.Bound{}, err
			}
			if s.records.Len() >= s.o.MaxRecords {
				return deployment.Bound{}, deployment.ErrUnavailable.With("no room for more visors, try again later")
			}
		}
		if checked == nil {
			checked = &record{}
			if known && old.Value.Remote == to {
				*checked = *old.Value
			}
			s.check(ctx, to, checked)
		}
		r.Reach, r.Why, r.Checked = checked.Reach, checked.Why, checked.Checked
		bound := deployment.Bound{RemoteAddr: to, Reachable: r.Reach == reachable, Why: r.Why, TTL: int(s.o.TTL / time.Second)}
		if known && old.Value.equal(&r) && old.Expires.Sub(s.o.Now()) > s.o.TTL*3/5 {
			return bound, nil // the store need not write what it has
		}
		b, err := json.Marshal(r)
		if err != nil {
			return bound, err
		}
		err = s.records.Put(ctx, key, b, s.o.TTL, store.IfVersion(old.Version))
		switch {
		case err == nil:
			return bound, nil
		case !errors.Is(err, store.ErrConflict):
			return bound, err
		case try == bindTries:
			return bound, deployment.ErrConflict.With("others bind with this key at the same time")
		}
		if err := s.records.Refresh(ctx, key); err != nil {
			return bound, err
		}
	}
}

// equal says whether two records say the same; Checked does not count.
func (r *record) equal(o *record) bool {
	return r.Seat == o.Seat && r.Remote == o.Remote && r.Reach == o.Reach && r.Why == o.Why && slices.Equal(r.Local, o.Local)
}

// check dials back unless what r says of that is fresh, and notes in r what came of
// it. It takes at most DialTimeout.
func (s *Service) check(ctx context.Context, to netip.AddrPort, r *record) {
	now := s.o.Now()
	if r.Reach == reachable && now.Sub(time.Unix(r.Checked, 0)) < checkAgain {
		return
	}
	if !s.dials.Allow(httpd.SourceOf(to.Addr()), now) {
		r.unchecked("not tried, too many visors of this address ask for it")
		return
	}
	select {
	case s.places <- struct{}{}:
	default:
		r.unchecked("not tried, too many visors ask for it at the moment")
		return
	}
	defer func() { <-s.places }()
	ctx, cancel := context.WithTimeout(ctx, s.o.DialTimeout)
	defer cancel()
	err := s.o.Dial(ctx, to)
	r.Checked = now.Unix()
	if err == nil {
		r.Reach, r.Why = reachable, ""
		return
	}
	r.Reach, r.Why = unreachable, why(err, to)
}

// unchecked notes that r could not be checked; what is known already stands.
func (r *record) unchecked(text string) {
	if r.Reach == unknown {
		r.Why = text
	}
}

// why says in plain words why nobody was reached at an address.
func why(err error, to netip.AddrPort) string {
	port := to.String()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return port + " refuses connections: no visor listens there, or a router in between has no port forwarding for it"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return port + " does not answer: a firewall drops connections, or a router in between has no port forwarding for it"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way from here to " + port
	}
	return "cannot connect to " + port
}
