package visor

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
)

// Links implements api.Visor.
func (v *Visor) Links(context.Context) ([]api.Link, error) { return v.linkList(), nil }

// linkList returns the links of the data plane and those that wait for a name to
// be resolved, sorted by key and type.
func (v *Visor) linkList() []api.Link {
	all := append(v.plane.Links(), v.wanted.list()...)
	slices.SortFunc(all, func(a, b api.Link) int {
		return cmp.Or(a.PK.Compare(b.PK), strings.Compare(a.Type, b.Type))
	})
	return all
}

// AddLink implements api.Visor.
func (v *Visor) AddLink(_ context.Context, spec api.LinkSpec, save bool) error {
	if spec.PK == v.pk {
		return api.ErrBadRequest.With("%s is this visor's own key", spec.PK)
	}
	if err := v.wanted.add(spec); err != nil {
		return err
	}
	return v.save(save, func(c *config.Config) { c.Links = append(without(c.Links, idOf(spec)), spec) })
}

// RemoveLink implements api.Visor.
func (v *Visor) RemoveLink(_ context.Context, id api.LinkID, save bool) error {
	missing := notFound("link to", id.PK.String())
	for _, l := range v.linkList() {
		if l.PK != id.PK || id.Type != "" && l.Type != id.Type {
			continue
		}
		missing = nil
		if v.wanted.remove(api.LinkID{PK: l.PK, Type: l.Type}) {
			continue
		}
		if err := v.plane.RemoveLink(l.PK, l.Type); err != nil {
			return err
		}
	}
	return v.removed(save, missing, func(c *config.Config) { c.Links = without(c.Links, id) })
}

func idOf(s api.LinkSpec) api.LinkID { return api.LinkID{PK: s.PK, Type: s.Type} }

// without removes the links that id names.
func without(specs []api.LinkSpec, id api.LinkID) []api.LinkSpec {
	return slices.DeleteFunc(specs, func(s api.LinkSpec) bool {
		return s.PK == id.PK && (id.Type == "" || s.Type == id.Type)
	})
}

// A resolver turns names into addresses; *net.Resolver is one.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Pauses between attempts to resolve a name.
const (
	resolveFirst = time.Second
	resolveMost  = time.Minute
)

// wanted hands links to the data plane as soon as their host names are resolved;
// at boot a machine may have links before it has a resolver.
type wanted struct {
	links    links
	resolver resolver
	log      zerolog.Logger
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu      sync.Mutex
	pending map[api.LinkID]*pending
}

// pending is a link whose name is not resolved.
type pending struct {
	spec api.LinkSpec
	stop context.CancelFunc
	err  string // why not
}

func (w *wanted) init(l links, r resolver, log zerolog.Logger) {
	w.links, w.resolver, w.log = l, r, log
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.pending = map[api.LinkID]*pending{}
}

// close ends all attempts.
func (w *wanted) close() {
	w.stop()
	w.wg.Wait()
}

// add takes a link. One with a numeric address is in the data plane when add
// returns, with its errors.
func (w *wanted) add(spec api.LinkSpec) error {
	if addr, err := netip.ParseAddrPort(spec.Addr); err == nil {
		return w.links.AddLink(spec.PK, spec.Type, addr)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := idOf(spec)
	if _, ok := w.pending[id]; ok {
		return api.ErrExists.With("a %s link to %s is wanted already", spec.Type, spec.PK)
	}
	for _, l := range w.links.Links() {
		if l.PK == spec.PK && l.Type == spec.Type && !l.Inbound {
			return api.ErrExists.With("there is a %s link to %s already", spec.Type, spec.PK)
		}
	}
	ctx, stop := context.WithCancel(w.ctx)
	p := &pending{spec: spec, stop: stop}
	w.pending[id] = p
	w.wg.Go(func() { w.resolve(ctx, id, p) })
	return nil
}

// resolve tries until the data plane has taken the link or ctx ends.
func (w *wanted) resolve(ctx context.Context, id api.LinkID, p *pending) {
	defer p.stop()
	for pause := resolveFirst; ; pause = min(2*pause, resolveMost) {
		addr, err := w.lookup(ctx, p.spec.Addr)
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		if err == nil {
			err = w.links.AddLink(p.spec.PK, p.spec.Type, addr)
		}
		if err == nil {
			delete(w.pending, id)
			w.mu.Unlock()
			return
		}
		p.err = err.Error()
		w.mu.Unlock()
		w.log.Warn().Err(err).Str("addr", p.spec.Addr).Msg("link waits for its address")
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// lookup resolves host:port; of several addresses it takes the first, which the
// system prefers.
func (w *wanted) lookup(ctx context.Context, hostport string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := w.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(ips) == 0 {
		return netip.AddrPort{}, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(n)), nil
}

// remove forgets a link that waits, and says whether there was one.
func (w *wanted) remove(id api.LinkID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.pending[id]
	if ok {
		p.stop()
		delete(w.pending, id)
	}
	return ok
}

// list returns the links that wait.
func (w *wanted) list() []api.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []api.Link
	for _, p := range w.pending {
		all = append(all, api.Link{PK: p.spec.PK, Type: p.spec.Type, Addr: p.spec.Addr, State: api.LinkConnecting, LastError: p.err})
	}
	return all
}
