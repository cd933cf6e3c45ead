package transportdisc

import (
	"context"
	"errors"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// register takes entries of the instance in of pk. Each stands for itself: those that
// are wrong are refused, the others are taken.
func (s *Service) register(ctx context.Context, pk cipher.PubKey, from place, rq deployment.RegisterRequest) (deployment.RegisterReply, error) {
	reply := deployment.RegisterReply{TTL: int(s.o.TTL / time.Second)}
	var good []deployment.SignedTransport
	ids := []deployment.TransportID{}
	for i := range rq.Entries {
		e := &rq.Entries[i]
		if err := s.admit(e, pk, from); err != nil {
			if err.Code == deployment.CodeRate || err.Code == deployment.CodeUnavailable {
				return reply, err // so are all that follow
			}
			reply.Refused = append(reply.Refused, deployment.Refusal{ID: e.ID, Code: err.Code, Text: err.Text})
			continue
		}
		good, ids = append(good, *e), append(ids, e.ID)
	}
	err := s.again(ctx, pk, rq.Instance, from.class, func(a *account) error {
		refused, err := a.add(ctx, good, s.o.Now())
		if err == nil {
			reply.Refused = append(reply.Refused, refused...)
		}
		return err
	})
	if err != nil {
		return reply, err
	}
	reply.Listed = s.index.listedOf(ids)
	return reply, nil
}

// admit says whether an entry of pk's may be registered.
func (s *Service) admit(e *deployment.SignedTransport, pk cipher.PubKey, from place) *deployment.Error {
	if err := check(e, pk); err != nil {
		return err
	}
	if !s.index.registered(pk, e.ID) {
		if halves, transports := s.index.size(); halves >= s.o.MaxHalves || transports >= s.o.MaxHalves {
			return deployment.ErrUnavailable.With("no room for more transports, try again later")
		}
		if !s.fresh.Allow(from.source, s.o.Now()) {
			return deployment.ErrRate
		}
	}
	return s.prove(e)
}

// registerOld takes entries as deployed visors bring them: signed by both edges, or
// none of them is taken.
func (s *Service) registerOld(ctx context.Context, pk cipher.PubKey, from place, entries []deployment.SignedTransport) ([]deployment.SignedTransport, error) {
	now := s.o.Now()
	for i := range entries {
		e := &entries[i]
		if err := s.admit(e, pk, from); err != nil {
			return nil, err
		}
		for _, sig := range e.Signatures {
			if sig == (cipher.Sig{}) {
				return nil, deployment.ErrUnauthorized.With("the transport is not signed by both edges")
			}
		}
		e.Registered, e.Stats = now.Unix(), nil
	}
	if s.index.oldOf(pk)+len(entries) > s.o.MaxPerKey {
		return nil, deployment.ErrLimit
	}
	for i := range entries {
		o := oldEntry{entries[i]}
		if err := s.index.m.Put(ctx, oldKey(o.ID), o.encode(), s.o.OldTTL, store.Always()); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// heartbeat notes that the instance in of pk is alive, and what it measured.
func (s *Service) heartbeat(ctx context.Context, pk cipher.PubKey, from place, rq deployment.HeartbeatRequest) (deployment.HeartbeatReply, error) {
	reply := deployment.HeartbeatReply{TTL: int(s.o.TTL / time.Second)}
	err := s.again(ctx, pk, rq.Instance, from.class, func(a *account) error {
		known := make(map[deployment.TransportID]int) // 1: registered, 2: with new stats
		for n := range a.parts {
			for _, h := range a.list(n) {
				known[h.id] = 1
			}
		}
		reply.Unknown = []deployment.TransportID{}
		stats := make([]deployment.TransportStats, 0, len(known))
		for _, st := range rq.Stats {
			switch known[st.ID] {
			case 0:
				reply.Unknown = append(reply.Unknown, st.ID)
			case 1:
				known[st.ID] = 2
				stats = append(stats, clean(st))
			}
		}
		// A visor with many transports tells of them in several parts.
		for _, st := range a.stats() {
			if known[st.ID] == 1 {
				stats = append(stats, st)
			}
		}
		if err := a.beats(ctx, stats); err != nil {
			return err
		}
		return a.refreshParts(ctx, s.o.Now())
	})
	return reply, err
}

// remove removes a transport, by whichever of its edges it was registered.
func (s *Service) remove(ctx context.Context, id deployment.TransportID) error {
	t, old, ok := s.index.edges(id)
	if !ok {
		return deployment.ErrNotFound.With("no such transport")
	}
	if old {
		if err := s.index.m.Delete(ctx, oldKey(id), store.Always()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	for _, pk := range t.Edges {
		// No instance asks: whoever runs with the key, its transport is gone.
		err := s.again(ctx, pk, deployment.Instance{}, "", func(a *account) error { return a.remove(ctx, id) })
		if err != nil {
			return err
		}
	}
	return nil
}

// A place is where a caller is, for limits and for what is said of it.
type place struct {
	source httpd.Source
	class  string
}
