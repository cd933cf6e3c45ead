package transport

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A services is a deployment's services in memory.
type services struct {
	mu         sync.Mutex
	err        error // of every call
	entries    map[deployment.TransportID]deployment.SignedTransport
	heard      map[deployment.TransportID]map[cipher.PubKey]bool
	beats      map[cipher.PubKey]int
	records    map[cipher.PubKey]deployment.Record
	public     map[cipher.PubKey]bool
	unreached  bool // no visor that binds is reachable
	duplicates map[cipher.PubKey]bool
}

func newServices() *services {
	return &services{
		entries: map[deployment.TransportID]deployment.SignedTransport{}, heard: map[deployment.TransportID]map[cipher.PubKey]bool{},
		beats: map[cipher.PubKey]int{}, records: map[cipher.PubKey]deployment.Record{}, public: map[cipher.PubKey]bool{},
		duplicates: map[cipher.PubKey]bool{},
	}
}

// fail makes every call fail, or none.
func (s *services) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// forget is an outage that loses everything.
func (s *services) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
	clear(s.heard)
	clear(s.records)
	clear(s.public)
}

// listed returns the transports that both edges have told of.
func (s *services) listed() (ids []deployment.TransportID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, who := range s.heard {
		if len(who) == 2 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *services) isPublic(pk cipher.PubKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.public[pk]
}

func (s *services) isBound(pk cipher.PubKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[pk].RemoteAddr.IsValid()
}

func (s *services) beatsOf(pk cipher.PubKey) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beats[pk]
}

// A caller is one visor's clients of the services.
type caller struct {
	*services
	pk cipher.PubKey
}

type (
	fakeTPD struct{ caller }
	fakeAR  struct{ caller }
	fakeSD  struct{ caller }
)

func (s *services) member(id, pk cipher.PubKey) Member {
	c := caller{s, pk}
	return Member{ID: id, Name: "test", TPD: fakeTPD{c}, AR: fakeAR{c}, SD: fakeSD{c}}
}

// begin is the start of every call; it leaves the services locked.
func (c caller) begin() error {
	c.mu.Lock()
	if c.duplicates[c.pk] {
		return deployment.ErrDuplicateKey
	}
	return c.err
}

func (c fakeTPD) Register(_ context.Context, _ deployment.Instance, entries []deployment.SignedTransport) (r deployment.RegisterReply, err error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return r, err
	}
	for _, e := range entries {
		for i, edge := range e.Edges {
			if cipher.Verify(edge, e.Signatures[i], e.SignedBytes()) != nil {
				r.Refused = append(r.Refused, deployment.Refusal{ID: e.ID, Code: deployment.CodeUnauthorized, Text: "signature"})
			}
		}
		c.entries[e.ID] = e
		if c.heard[e.ID] == nil {
			c.heard[e.ID] = map[cipher.PubKey]bool{}
		}
		c.heard[e.ID][c.pk] = true
	}
	return r, nil
}

func (c fakeTPD) Heartbeat(_ context.Context, _ deployment.Instance, stats []deployment.TransportStats) (unknown []deployment.TransportID, err error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return nil, err
	}
	c.beats[c.pk]++
	for _, s := range stats {
		if !c.heard[s.ID][c.pk] {
			unknown = append(unknown, s.ID)
		}
	}
	return unknown, nil
}

func (c fakeTPD) Delete(_ context.Context, id deployment.TransportID) error {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return err
	}
	if _, ok := c.entries[id]; !ok {
		return deployment.ErrNotFound
	}
	delete(c.entries, id)
	delete(c.heard, id)
	return nil
}

func (c fakeTPD) Edge(_ context.Context, pk cipher.PubKey) (list []deployment.SignedTransport, err error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return nil, err
	}
	for id, e := range c.entries {
		if slices.Contains(e.Edges[:], pk) && len(c.heard[id]) == 2 {
			list = append(list, e)
		}
	}
	return list, nil
}

func (c fakeAR) Bind(_ context.Context, _ deployment.Instance, b deployment.Bind) (deployment.Bound, error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return deployment.Bound{}, err
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.Port)
	c.records[c.pk] = deployment.Record{RemoteAddr: at}
	return deployment.Bound{RemoteAddr: at, Reachable: !c.unreached, TTL: 180}, nil
}

func (c fakeAR) Unbind(context.Context) error {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return err
	}
	delete(c.records, c.pk)
	return nil
}

func (c fakeAR) Resolve(_ context.Context, pk cipher.PubKey) (deployment.Record, error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return deployment.Record{}, err
	}
	r, ok := c.records[pk]
	if !ok {
		return r, deployment.ErrNotFound
	}
	return r, nil
}

func (c fakeSD) Services(context.Context, deployment.Filter) (list []deployment.Service, err error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return nil, err
	}
	for pk := range c.public {
		list = append(list, deployment.Service{Address: deployment.ServiceAddr{PK: pk, Port: SettlePort}, Type: deployment.ServiceVisor})
	}
	return list, nil
}

func (c fakeSD) Register(_ context.Context, s deployment.Service) (deployment.Service, error) {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return s, err
	}
	c.public[s.Address.PK] = true
	return s, nil
}

func (c fakeSD) Delete(_ context.Context, addr deployment.ServiceAddr, _ string) error {
	defer c.mu.Unlock()
	if err := c.begin(); err != nil {
		return err
	}
	delete(c.public, addr.PK)
	return nil
}
