package dmsg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// dialTimeout bounds the set-up of a stream by way of one relay. A peer that is there
	// answers within two round trips; a relay of the older software says nothing about
	// one that is not.
	dialTimeout = 5 * time.Second
	// dialHeadStart is what a relay gets, besides two round trips, before the next one is
	// asked too.
	dialHeadStart = 150 * time.Millisecond
	// connectHeadStart is the same for a relay that must be connected to first: five round
	// trips of at most 100 ms.
	connectHeadStart = 500 * time.Millisecond
	// guessAfter is how long a dial waits for the discovery to say where a peer is of which
	// nothing is known, before it asks the relays that both may have in common. It is longer
	// than what is known of old waits for news.
	guessAfter = lookupPatience + 250*time.Millisecond
	// maxRelays bounds the relays by way of which one peer is dialled.
	maxRelays = 16
)

// Dial opens a stream to a key and port. It looks up by which relays the peer can be
// reached and asks them, those first with which there are sessions already; one that
// keeps it waiting does not keep it from asking the next. A refusal by the peer ends it
// at once. ctx bounds the dial and not the stream.
//
// The error is a *DialError; see there for what it wraps.
func (c *Client) Dial(ctx context.Context, to proto.Addr) (*Stream, error) {
	if err := checkAddr(to); err != nil {
		return nil, &DialError{Addr: to, Err: err}
	}
	relays, err := c.relaysSoon(ctx, to.PK)
	if err != nil {
		return nil, &DialError{Addr: to, Err: err}
	}
	st, tried, final := c.dialBy(ctx, to, relays)
	if st == nil && !final && ctx.Err() == nil {
		// The peer may have moved since its entry was read, or the entry come late.
		again, err := c.relaysOf(ctx, to.PK, 0)
		if err != nil {
			return nil, &DialError{Addr: to, Err: err, Tried: tried}
		}
		// Or it is at a pinned relay, and the discovery is not there to say so.
		more := c.pinned()
		more = slices.DeleteFunc(more, func(pk cipher.PubKey) bool { return slices.Contains(again, pk) })
		again = slices.DeleteFunc(append(more, again...), func(pk cipher.PubKey) bool { return slices.Contains(relays, pk) })
		var failed []RelayError
		st, failed, final = c.dialBy(ctx, to, again)
		tried = append(tried, failed...)
	}
	if st == nil {
		return nil, dialError(ctx, to, tried, final)
	}
	return st, nil
}

// DialVia is Dial by way of one relay, whatever the discovery says about the peer.
func (c *Client) DialVia(ctx context.Context, relay cipher.PubKey, to proto.Addr) (*Stream, error) {
	if err := checkAddr(to); err != nil {
		return nil, &DialError{Addr: to, Err: err}
	}
	st, tried, final := c.dialBy(ctx, to, []cipher.PubKey{relay})
	if st == nil {
		return nil, dialError(ctx, to, tried, final)
	}
	return st, nil
}

func checkAddr(to proto.Addr) error {
	switch {
	case to.PK.Validate() != nil:
		return fmt.Errorf("%w: %w", proto.ErrReqDstKey, to.PK.Validate())
	case to.Port == 0:
		return proto.ErrReqDstPort
	}
	return nil
}

// dialError makes the error of a dial that has tried these relays.
func dialError(ctx context.Context, to proto.Addr, tried []RelayError, final bool) *DialError {
	e := &DialError{Addr: to, Err: proto.ErrUnreachable, Tried: tried}
	switch {
	case final:
		e.Err = tried[len(tried)-1].Err
	case ctx.Err() != nil:
		e.Err = context.Cause(ctx)
	}
	return e
}

// relaysSoon is relaysOf for a first attempt: where the discovery is slow and nothing is
// known about pk, it says which relays both may have in common.
func (c *Client) relaysSoon(ctx context.Context, pk cipher.PubKey) ([]cipher.PubKey, error) {
	soon, cancel := context.WithTimeoutCause(ctx, guessAfter, errLate)
	defer cancel()
	relays, err := c.relaysOf(soon, pk, entryLife)
	switch {
	case !errors.Is(err, errLate):
		return relays, err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if relays = c.likely(); len(relays) > 0 {
		return relays, nil
	}
	return c.relaysOf(ctx, pk, entryLife)
}

// relaysOf returns the relays by which pk can be reached, as far as is known.
func (c *Client) relaysOf(ctx context.Context, pk cipher.PubKey, maxAge time.Duration) ([]cipher.PubKey, error) {
	switch {
	case pk == c.PubKey():
		return c.connected(), nil
	case c.cfg.service(pk), c.cfg.Directory == nil:
		return c.likely(), nil
	}
	entry, err := c.lookups.get(ctx, pk, maxAge)
	switch {
	case errors.Is(err, proto.ErrNoEntry), err != nil && (errors.Is(err, ErrClosed) || ctx.Err() != nil):
		return nil, err
	case err != nil:
		// No discovery and no memory: the peer may still be where we are.
		if relays := c.likely(); len(relays) > 0 {
			return relays, nil
		}
		return nil, err
	case entry.Client == nil:
		return nil, proto.ErrNotClient
	case len(entry.Client.DelegatedServers) == 0:
		return nil, proto.ErrNoServers
	}
	return entry.Client.DelegatedServers, nil
}

// pinned returns the relays that were known beforehand.
func (c *Client) pinned() []cipher.PubKey {
	all := make([]cipher.PubKey, 0, len(c.cfg.Servers))
	for _, e := range c.cfg.Servers {
		all = append(all, e.Static)
	}
	return all
}

// likely returns the relays where a peer may be of which nothing is known: those with
// which there are sessions, and those that were pinned, which others know as well.
func (c *Client) likely() []cipher.PubKey {
	relays := c.connected()
	for _, pk := range c.pinned() {
		if !slices.Contains(relays, pk) {
			relays = append(relays, pk)
		}
	}
	return relays
}

// dialBy tries these relays, in the order in which they promise to be quick. final says
// that the last failure is the same whatever else is tried.
func (c *Client) dialBy(ctx context.Context, to proto.Addr, relays []cipher.PubKey) (st *Stream, tried []RelayError, final bool) {
	if len(relays) == 0 {
		return nil, nil, false
	}
	routes := c.routes(relays)
	won, failed := race[*Stream]{
		n: len(routes), want: 1,
		headStart: func(i int) time.Duration { return routes[i].headStart() },
		attempt: func(ctx context.Context, i int) (*Stream, error) {
			s := routes[i].session
			if s == nil {
				var err error
				if s, err = c.session(ctx, routes[i].server); err != nil {
					return nil, err
				}
			}
			return s.dial(ctx, to)
		},
		final: isFinal,
		lost:  (*Stream).Reset,
		start: c.start,
	}.run(ctx)
	for _, f := range failed {
		tried = append(tried, RelayError{Server: routes[f.i].server, Err: f.err})
		final = final || isFinal(f.err)
	}
	if len(won) == 1 {
		return won[0], nil, false
	}
	return nil, tried, final
}

// A route is one way to a peer.
type route struct {
	server  cipher.PubKey
	session *session // nil: to be opened
	rtt     time.Duration
}

func (r route) headStart() time.Duration {
	if r.session == nil {
		return connectHeadStart
	}
	return dialHeadStart + 2*r.rtt
}

// routes puts the relays in the order in which they are tried: first those with
// sessions, the nearest of them first, then the others at random, those last that failed
// lately.
func (c *Client) routes(relays []cipher.PubKey) []route {
	var open, rest []route
	c.mu.Lock()
	for _, pk := range relays {
		if s := c.sessions[pk]; s != nil {
			open = append(open, route{pk, s, time.Duration(s.rtt.Load())})
		} else {
			rest = append(rest, route{server: pk})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(open, func(a, b route) int { return int(a.rtt - b.rtt) })
	c.relays.order(rest)
	all := append(open, rest...)
	return all[:min(len(all), maxRelays)]
}

// refusal is the peer's own word, signed by it.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// isFinal reports whether other relays would change nothing about err.
func isFinal(err error) bool {
	var r refusal
	return errors.As(err, &r) || errors.Is(err, ErrPortsExhausted) || errors.Is(err, ErrClosed)
}

// dial sets a stream to the peer up over this session.
func (s *session) dial(ctx context.Context, to proto.Addr) (*Stream, error) {
	port, err := s.c.ports.ephemeral()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, ErrNoAnswer)
	defer cancel()
	st := &Stream{
		sess: s, local: proto.Addr{PK: s.c.PubKey(), Port: port}, remote: to,
		release: func() { s.c.ports.free(port) },
	}
	if st.mux, err = s.mux.Open(ctx); err != nil {
		st.done()
		return nil, err
	}
	stop := context.AfterFunc(ctx, st.mux.Reset)
	err = st.shake()
	if !stop() && err == nil {
		err = context.Cause(ctx) // it came too late
	}
	if err == nil {
		err = s.adopt(st)
	}
	if err == nil {
		return st, nil
	}
	st.Reset()
	if ctx.Err() != nil {
		if err = context.Cause(ctx); errors.Is(err, ErrNoAnswer) {
			s.c.start(s.suspect) // is it the peer, or is the relay gone?
		}
	}
	return nil, err
}

// shake is the dialer's side of a stream's set-up.
func (s *Stream) shake() error {
	id, hop := s.sess.c.id, s.sess.hop
	in, msg1, err := id.Initiate(s.remote.PK)
	if err != nil {
		return err
	}
	request, err := id.SignRequest(&proto.Request{
		Timestamp: max(time.Now().UnixNano(), 1), Src: s.local, Dst: s.remote, NoiseMsg: msg1,
	})
	if err != nil {
		return err
	}
	object, err := hop.Seal(nil, request)
	if err != nil {
		return err
	}
	if _, err := s.mux.Write(object); err != nil {
		return turnedAway(err)
	}
	body, err := proto.ReadObject(s.mux, nil)
	if err != nil {
		return turnedAway(err)
	}
	signed, err := hop.Open(body)
	if err != nil {
		return err
	}
	response, err := proto.Signed(signed).Response(request.Hash(), s.remote.PK)
	if errors.Is(err, proto.ErrRespSignature) {
		// A relay cannot sign for the peer. Ours says with its own key why it refuses;
		// the deployed software takes that for a bad signature and fails as well.
		if own, bad := proto.Signed(signed).Response(request.Hash(), hop.Remote()); bad == nil && !own.Accepted {
			return own.Err()
		}
	}
	if err != nil {
		return err
	}
	if err := response.Err(); err != nil {
		return refusal{err}
	}
	s.w.send, s.r.recv, err = in.Finish(response.NoiseMsg)
	return err
}

// turnedAway says what the end of a stream means before the answer has come.
func turnedAway(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, yamux.ErrReset) {
		return ErrTurnedAway
	}
	return err
}

// entryOf returns the entry of a relay: as the discovery listed it, or as it was pinned.
func (c *Client) entryOf(ctx context.Context, pk cipher.PubKey) (*disc.Entry, error) {
	if e := c.relays.entry(pk); e != nil {
		return e, nil
	}
	if c.cfg.Directory == nil {
		return nil, fmt.Errorf("relay %s: %w", pk, proto.ErrNoEntry)
	}
	return c.lookups.get(ctx, pk, entryLife)
}
