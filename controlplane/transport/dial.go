package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

const (
	// ensureTimeout bounds Ensure, attemptTimeout an attempt with all its ways: what is left
	// is for its answer.
	ensureTimeout  = 10 * time.Second
	attemptTimeout = 9500 * time.Millisecond
	// relayHeadStart is what the direct ways get before a relayed one begins. A hole takes
	// about that long between visors on one continent; where it takes longer the relayed
	// link is there first, and goes again.
	relayHeadStart = 300 * time.Millisecond
	// addrTimeout is how long one of several addresses has.
	addrTimeout = 4500 * time.Millisecond
	// resolveTimeout bounds the questions to address resolvers and to DNS.
	resolveTimeout = 3 * time.Second
	// maxAddrs bounds the addresses that are tried one after the other.
	maxAddrs = 3
)

// A way brings links of one type up. connect returns nil when the link is up, and leaves
// none behind that nobody wants. A blind relay for datagrams is one more way.
type way struct {
	typ     link.Type
	relayed bool // waits for the others
	connect func(ctx context.Context, pk cipher.PubKey) error
}

// ways returns the ways to pk of that type, or all if it is 0. asked says that a user
// named the peer and the type, so that he wants it to know our address.
func (m *Manager) ways(pk cipher.PubKey, typ link.Type, asked bool) (all []way, refused []WayError) {
	direct := asked || m.accepts(pk)
	for _, w := range []way{{link.STCPR, false, m.stcpr}, {link.SUDPH, false, m.sudph}, {link.DMSG, true, m.relay}} {
		var why error
		switch {
		case typ != 0 && typ != w.typ:
			continue
		case w.typ != link.DMSG && !direct:
			why = errors.New("transport.accept does not list that key, and it would learn our address")
		case w.typ == link.SUDPH && !m.plane.udp().IsValid():
			why = errors.New("this visor does not use UDP")
		case w.typ != link.STCPR && len(m.carriers) == 0:
			why = errors.New("this visor is in no dmsg network")
		}
		if why != nil {
			refused = append(refused, WayError{w.typ.String(), why})
			continue
		}
		all = append(all, w)
	}
	return all, refused
}

// An attempt tries all ways to one peer. It is over when they are.
type attempt struct {
	typ  link.Type // 0: all
	done chan struct{}
	err  error // once done is closed; nil if a link is up
}

// attempt returns the attempt at pk under way that tries that type, or begins one. One that
// is to try all types leaves those to their own attempts that these have begun already.
func (m *Manager) attempt(pk cipher.PubKey, typ link.Type, asked bool) (*attempt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range []want{{pk, typ}, {pk, 0}} {
		if a := m.attempts[w]; a != nil {
			return a, nil
		}
	}
	if m.ended {
		return nil, ErrClosed
	}
	var others []*attempt
	if typ == 0 {
		others = m.attemptsAt(pk)
	}
	a := &attempt{typ: typ, done: make(chan struct{})}
	m.attempts[want{pk, typ}] = a
	m.wg.Go(func() {
		ctx, cancel := context.WithTimeout(m.life, attemptTimeout)
		defer cancel()
		ways, failed := m.ways(pk, typ, asked)
		ways = slices.DeleteFunc(ways, func(w way) bool {
			return slices.ContainsFunc(others, func(o *attempt) bool { return o.typ == w.typ })
		})
		failed = append(failed, race(ctx, pk, ways)...)
		if up, _ := m.state(pk, typ); !up {
			failed = append(failed, await(ctx, others)...)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.isUp(pk, typ) {
			a.err = &EnsureError{pk, failed}
			m.log.Debug().Err(a.err).Msg("attempt failed")
		}
		delete(m.attempts, want{pk, typ})
		m.shout()
		close(a.done)
	})
	return a, nil
}

// await waits for attempts, and returns what failed.
func await(ctx context.Context, all []*attempt) (failed []WayError) {
	for _, a := range all {
		select {
		case <-a.done:
		case <-ctx.Done():
			return append(failed, WayError{a.typ.String(), context.Cause(ctx)})
		}
		var e *EnsureError
		if errors.As(a.err, &e) {
			failed = append(failed, e.Ways...)
		}
	}
	return failed
}

// attemptsAt returns the attempts at pk that are under way. The caller holds m.mu.
func (m *Manager) attemptsAt(pk cipher.PubKey) (all []*attempt) {
	for _, typ := range []link.Type{0, link.STCPR, link.SUDPH, link.DMSG} {
		if a := m.attempts[want{pk, typ}]; a != nil {
			all = append(all, a)
		}
	}
	return all
}

// race tries ways at the same time, the relayed ones a little later or when the others have
// failed. It ends with the first direct link, or when all ways have ended, and returns
// what failed. A relayed link does not end it: a direct one may follow.
func race(ctx context.Context, pk cipher.PubKey, ways []way) (failed []WayError) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		way
		err error
	}
	results := make(chan result, len(ways))
	running, direct := 0, 0
	begin := func(relayed bool) {
		for _, w := range ways {
			if w.relayed != relayed {
				continue
			}
			if running++; !relayed {
				direct++
			}
			go func() { results <- result{w, w.connect(ctx, pk)} }()
		}
	}
	begin(false)
	head := time.NewTimer(relayHeadStart)
	defer head.Stop()
	relays := head.C // nil once they have begun, or need not
	for running > 0 || relays != nil {
		if relays != nil && direct == 0 {
			relays = nil
			begin(true)
			continue
		}
		select {
		case <-relays:
			relays = nil
			begin(true)
		case r := <-results:
			if running--; !r.relayed {
				direct--
			}
			switch {
			case r.err != nil:
				failed = append(failed, WayError{r.typ.String(), r.err})
			case !r.relayed:
				relays = nil
				cancel()
			}
		}
	}
	return failed
}

// Ensure returns nil when there is a link to pk that is up, whatever its type. Where there
// is none, STCPR and SUDPH are tried at the same time, and a link over dmsg a little later;
// a dmsg link is given up for a direct one as soon as there is one. It takes 10 s at the
// most. From then on the Manager sees to it for a while that the link comes back when it is
// lost.
//
// Errors: *EnsureError, which is an ErrNoWay; ErrSelf; ErrClosed; ctx's.
func (m *Manager) Ensure(ctx context.Context, pk cipher.PubKey) error {
	if pk == m.pk {
		return ErrSelf
	}
	err := m.ensure(ctx, pk, 0, false)
	if err == nil {
		m.demand(pk)
	}
	return err
}

// ensure is Ensure for one type, or for any.
func (m *Manager) ensure(ctx context.Context, pk cipher.PubKey, typ link.Type, asked bool) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	for {
		up, news := m.state(pk, typ)
		if up {
			return nil
		}
		a, err := m.attempt(pk, typ, asked)
		if err != nil {
			return err
		}
		for over := false; !over; {
			select {
			case <-news:
			case <-a.done:
				over = true
			case <-ctx.Done():
				return fmt.Errorf("transport: link to %s: %w", pk, context.Cause(ctx))
			}
			if up, news = m.state(pk, typ); up {
				return nil
			}
		}
		switch {
		case a.typ != typ: // it was somebody else's
		case a.err == nil:
			return fmt.Errorf("%w: the link to %s went down at once", ErrNoWay, pk)
		default:
			return a.err
		}
	}
}

// state reports whether there is a link of that type to pk, or any if it is 0, that is up;
// news is closed when that may have changed.
func (m *Manager) state(pk cipher.PubKey, typ link.Type) (up bool, news <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isUp(pk, typ), m.news
}

// relay brings a link over dmsg up.
func (m *Manager) relay(ctx context.Context, pk cipher.PubKey) error {
	return m.connect(ctx, pk, link.DMSG, netip.AddrPort{})
}

// stcpr brings an STCPR link up.
func (m *Manager) stcpr(ctx context.Context, pk cipher.PubKey) error {
	addrs, err := m.addrs(ctx, pk)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range addrs {
		actx, cancel := context.WithTimeout(ctx, addrTimeout)
		err := m.connect(actx, pk, link.STCPR, a)
		cancel()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// addrs returns where pk accepts STCPR links: what the table says, or else what the
// address resolvers know.
func (m *Manager) addrs(ctx context.Context, pk cipher.PubKey) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	m.mu.Lock()
	entry, ok := m.settings.Table[pk]
	if w := m.wants[want{pk, link.STCPR}]; w != nil && w.addr != "" {
		entry, ok = w.addr, true
	}
	m.mu.Unlock()
	if ok {
		return m.lookup(ctx, entry)
	}
	type answer struct {
		addrs []netip.AddrPort
		err   error
	}
	answers := make(chan answer, len(m.members))
	asked := 0
	for _, d := range m.members {
		if d.AR == nil {
			continue
		}
		asked++
		go func() {
			r, err := d.AR.Resolve(ctx, pk)
			answers <- answer{d.order(r.RemoteAddr, r.Addresses), err}
		}()
	}
	errs := []error{}
	for range asked {
		a := <-answers
		switch {
		case a.err != nil:
			errs = append(errs, a.err)
		case len(a.addrs) == 0:
			errs = append(errs, errors.New("it knows no address to which one can connect"))
		default:
			return a.addrs, nil
		}
	}
	if asked == 0 {
		return nil, errors.New("its address is not known: there is no address resolver, and no entry in the table")
	}
	return nil, fmt.Errorf("address resolver: %w", errors.Join(errs...))
}

// lookup resolves host:port.
func (m *Manager) lookup(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(hostport); err == nil {
		return []netip.AddrPort{a}, nil
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%s: not a port", hostport)
	}
	ips, err := m.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var all []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxAddrs)] {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
	}
	return all, nil
}

// order puts the addresses of a visor in the order in which they are worth trying: those
// of its interfaces only where it shares our address, for it is behind the same NAT then,
// or on the same machine.
func (d *member) order(remote netip.AddrPort, local []netip.AddrPort) (all []netip.AddrPort) {
	d.m.mu.Lock()
	ours := d.bound.RemoteAddr.Addr()
	d.m.mu.Unlock()
	if ours.IsValid() && ours == remote.Addr() {
		all = append(all, local[:min(len(local), maxAddrs-1)]...)
	}
	if remote.IsValid() && remote.Port() != 0 && !slices.Contains(all, remote) {
		all = append(all, remote) // the last one: few NATs lead back inside
	}
	return all
}
