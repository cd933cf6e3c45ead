package visor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A resolver turns names into addresses; *net.Resolver is one.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Pauses between attempts to resolve a name.
const (
	resolveFirst = time.Second
	resolveMost  = 30 * time.Second // the slowest pace of attempts to connect
)

// wanted hands links to the data plane as soon as their host names are resolved; at
// boot a machine may have links before it has a resolver. While such a link is down
// its name is resolved again: the neighbour may have moved.
type wanted struct {
	links    links
	resolver resolver
	first    time.Duration // resolveFirst
	log      zerolog.Logger
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu    sync.Mutex // also held while a link is added
	named map[api.LinkID]*named
}

// named is a link whose address has a name.
type named struct {
	spec  api.LinkSpec
	stop  context.CancelFunc
	added bool   // the data plane has it
	err   string // why not
}

func (w *wanted) init(l links, r resolver, log zerolog.Logger) {
	w.links, w.resolver, w.first, w.log = l, r, resolveFirst, log
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.named = map[api.LinkID]*named{}
}

// close ends all attempts.
func (w *wanted) close() {
	w.stop()
	w.wg.Wait()
}

// add takes a link, and lets its neighbour in from now on. One with a numeric address,
// or with none, is in the data plane when add returns, with its errors.
func (w *wanted) add(spec api.LinkSpec) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := idOf(spec)
	if _, ok := w.named[id]; ok {
		return api.ErrExists.With("a %s link to %s is wanted already", spec.Type, spec.PK)
	}
	if addr, err := netip.ParseAddrPort(spec.Addr); err == nil || spec.Type == api.DMSG {
		if err := w.links.AddLink(spec.PK, spec.Type, addr); err != nil {
			return err
		}
		w.links.Expect(spec.PK, true)
		return nil
	}
	if l, ok := w.find(id); ok && !l.Inbound {
		return api.ErrExists.With("there is a %s link to %s already", spec.Type, spec.PK)
	}
	ctx, stop := context.WithCancel(w.ctx)
	n := &named{spec: spec, stop: stop}
	w.named[id] = n
	w.links.Expect(spec.PK, true)
	w.wg.Go(func() {
		defer stop()
		if w.connect(ctx, n) {
			w.follow(ctx, n)
		}
	})
	return nil
}

// find returns a link of the data plane.
func (w *wanted) find(id api.LinkID) (api.Link, bool) {
	for _, l := range w.links.Links() {
		if l.PK == id.PK && l.Type == id.Type {
			return l, true
		}
	}
	return api.Link{}, false
}

// connect tries until the data plane has taken the link, or ctx ends.
func (w *wanted) connect(ctx context.Context, n *named) bool {
	for pause := w.first; ; pause = min(2*pause, resolveMost) {
		addr, err := w.lookup(ctx, n.spec.Addr)
		w.mu.Lock()
		if ctx.Err() != nil {
			w.mu.Unlock()
			return false
		}
		if err == nil {
			err = w.links.AddLink(n.spec.PK, n.spec.Type, addr)
		}
		n.added = err == nil
		if err != nil {
			n.err = err.Error()
		}
		w.mu.Unlock()
		if err == nil {
			return true
		}
		w.log.Warn().Err(err).Str("addr", n.spec.Addr).Msg("link waits for its address")
		if !sleep(ctx, pause) {
			return false
		}
	}
}

// follow resolves the name again while the link is down, until ctx ends.
func (w *wanted) follow(ctx context.Context, n *named) {
	pause := w.first
	for sleep(ctx, pause) {
		l, ok := w.find(idOf(n.spec))
		if !ok || l.State == api.LinkUp {
			pause = w.first
			continue
		}
		pause = min(2*pause, resolveMost)
		addr, err := w.lookup(ctx, n.spec.Addr)
		if err == nil {
			err = w.links.Retarget(n.spec.PK, n.spec.Type, addr)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, api.ErrNotFound) {
			w.log.Debug().Err(err).Str("addr", n.spec.Addr).Msg("link keeps its old address")
		}
	}
}

// sleep waits for d and says whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
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

// remove forgets a link's name, and says whether that was all there was of it.
func (w *wanted) remove(id api.LinkID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.named[id]
	if ok {
		n.stop()
		delete(w.named, id)
	}
	return ok && !n.added
}

// settle stops to expect pk if no link to it is wanted any more.
func (w *wanted) settle(pk cipher.PubKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.named {
		if id.PK == pk {
			return
		}
	}
	if !slices.ContainsFunc(w.links.Links(), func(l api.Link) bool { return l.PK == pk && !l.Inbound }) {
		w.links.Expect(pk, false)
	}
}

// list returns the links that wait for their address.
func (w *wanted) list() []api.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []api.Link
	for _, n := range w.named {
		if !n.added {
			all = append(all, api.Link{PK: n.spec.PK, Type: n.spec.Type, Addr: n.spec.Addr, State: api.LinkConnecting, LastError: n.err})
		}
	}
	return all
}
