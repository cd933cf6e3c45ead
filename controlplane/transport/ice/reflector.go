package ice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/stunclient"
)

const (
	// mappedLife is how long a view from outside is taken for true: the least time for
	// which NATs keep a mapping that is not used is 30 s, whatever RFC 4787 asks for.
	mappedLife = 20 * time.Second
	// askTimeout bounds one round of questions.
	askTimeout = 2 * time.Second
	// others is how long the other servers have once one has answered.
	others = 100 * time.Millisecond
	// namesLife is how long names of servers are remembered.
	namesLife = 5 * time.Minute
	// maxServers bounds the STUN servers that are asked at once.
	maxServers = 8
)

// A Resolver turns names into addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A Reflector knows what a Hub's socket looks like from outside. The zero value is not
// ready: use NewReflector.
type Reflector struct {
	hub      *Hub
	servers  []string
	resolver Resolver
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex
	names  []netip.AddrPort // of the servers, at namesAt
	named  time.Time
	mapped []netip.AddrPort // at asked
	asked  time.Time
	round  *round // under way, or nil
}

// A round is one question to all servers, for all who want to know.
type round struct {
	done   chan struct{}
	mapped []netip.AddrPort
	err    error
}

// NewReflector returns a Reflector that asks servers, each host:port, until it is closed.
func NewReflector(h *Hub, servers []string, r Resolver) *Reflector {
	rf := &Reflector{hub: h, servers: servers, resolver: r}
	rf.ctx, rf.stop = context.WithCancel(context.Background())
	return rf
}

// Close ends the questions under way and returns when nothing runs any more.
func (r *Reflector) Close() {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.wg.Wait()
}

// Forget has the next question asked anew: the network has changed.
func (r *Reflector) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.named, r.round = time.Time{}, time.Time{}, nil
}

// Mapped returns the socket's addresses as the servers see them, IPv4 and IPv6, each once.
// An answer is good for 20 s; else it takes a round trip, and 2 s where nobody answers.
//
// Errors: what the servers' silence is put down to; then there is no address. Without
// servers there is neither.
func (r *Reflector) Mapped(ctx context.Context) ([]netip.AddrPort, error) {
	if len(r.servers) == 0 {
		return nil, nil
	}
	r.mu.Lock()
	if len(r.mapped) > 0 && time.Since(r.asked) < mappedLife {
		defer r.mu.Unlock()
		return slices.Clone(r.mapped), nil
	}
	if r.ctx.Err() != nil {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	rd := r.round
	if rd == nil {
		rd = &round{done: make(chan struct{})}
		r.round = rd
		r.wg.Go(func() { r.ask(rd) })
	}
	r.mu.Unlock()
	select {
	case <-rd.done:
		return slices.Clone(rd.mapped), rd.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ask asks all servers.
func (r *Reflector) ask(rd *round) {
	ctx, cancel := context.WithTimeout(r.ctx, askTimeout)
	defer cancel()
	var views []view
	servers, err := r.resolve(ctx)
	if err == nil {
		views, err = r.views(ctx, servers)
	}
	for _, v := range views {
		if !slices.Contains(rd.mapped, v.mapped) {
			rd.mapped = append(rd.mapped, v.mapped)
		}
	}
	rd.err = err
	r.mu.Lock()
	if r.round == rd { // else Forget was called
		r.round = nil
		r.mapped, r.asked = rd.mapped, time.Now()
	}
	r.mu.Unlock()
	close(rd.done)
}

// A view is what one server said.
type view struct {
	server, mapped netip.AddrPort
	err            error
}

// views asks servers at the same time and returns the answers that came, in the order of
// the servers' addresses.
func (r *Reflector) views(ctx context.Context, servers []netip.AddrPort) (got []view, err error) {
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan view, len(servers))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, s := range servers {
		wg.Go(func() {
			m, err := r.hub.Query(ctx, s)
			answers <- view{s, m, err}
		})
	}
	var late <-chan time.Time
	var errs []error
	for range servers {
		select {
		case v := <-answers:
			if v.err != nil {
				errs = append(errs, v.err)
				continue
			}
			got = append(got, v)
			if late == nil {
				t := time.NewTimer(others)
				defer t.Stop()
				late = t.C
			}
			continue
		case <-late:
		}
		break
	}
	if len(got) == 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(got, func(a, b view) int { return a.server.Compare(b.server) })
	return got, nil
}

// resolve returns the servers' addresses, of each name one per family.
func (r *Reflector) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	r.mu.Lock()
	if len(r.names) > 0 && time.Since(r.named) < namesLife {
		defer r.mu.Unlock()
		return r.names, nil
	}
	r.mu.Unlock()
	type found struct {
		at  []netip.AddrPort
		err error
	}
	lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
		return r.resolver.LookupNetIP(ctx, "ip", host)
	}
	results := make([]found, len(r.servers))
	var wg sync.WaitGroup
	for i, s := range r.servers {
		wg.Go(func() { results[i].at, results[i].err = stunclient.Resolve(ctx, s, lookup) })
	}
	wg.Wait()
	var all []netip.AddrPort
	var errs []error
	for _, f := range results {
		errs = append(errs, f.err)
		for _, a := range f.at {
			if len(all) < maxServers && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("ice: STUN servers: %w", cmp.Or(errors.Join(errs...), errors.New("no address")))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names, r.named = all, time.Now()
	return all, nil
}
