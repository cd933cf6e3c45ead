package dmsg

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Client is one key's presence in the network. All methods may be called
// concurrently.
type Client struct {
	cfg     Config // without the secret key
	key     *cipher.StaticKey
	id      *proto.Identity
	log     zerolog.Logger
	ports   *ports
	replay  *proto.Replay
	lookups *lookups
	relays  *relays
	events  events
	guests  guests
	work    chan struct{} // a token for each incoming handshake that computes
	failed  atomic.Uint64 // incoming streams that were not set up

	ctx     context.Context // lives until Close
	cancel  context.CancelFunc
	closing chan struct{} // closed by Close, before it takes down what Run needs to say goodbye
	stop    sync.Once
	running atomic.Bool
	ran     chan struct{} // closed when Run has said goodbye
	ready   chan struct{}
	isReady sync.Once
	wake    chan struct{} // the sessions are not what they should be
	stale   chan struct{} // the entry is not what it should be

	life  sync.Mutex // makes ended and wg one
	ended bool
	wg    sync.WaitGroup

	mu       sync.Mutex
	sessions map[cipher.PubKey]*session // those that take new streams
	drained  map[*session]struct{}      // those that do not
	opening  map[cipher.PubKey]*opening
	left     []cipher.PubKey // relays of kept sessions that nothing has replaced yet
}

// New returns a client that can dial and listen. It connects to relays on its own
// account, and others can reach it, while Run runs.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	key, err := cipher.NewStaticKey(cfg.SecKey)
	if err != nil {
		return nil, err
	}
	id, err := proto.NewIdentity(cfg.SecKey)
	if err != nil {
		return nil, err
	}
	cfg.SecKey = cipher.SecKey{}
	if cfg.Budget == nil {
		cfg.Budget = yamux.NewBudget(DefaultBudget())
	}
	c := &Client{
		cfg: cfg, key: key, id: id, log: cfg.Log,
		ports:  newPorts(),
		replay: proto.NewReplay(replayWindow, replayLimit, time.Now),
		relays: newRelays(cfg.Servers, cfg.ServerType),
		guests: guests{n: map[cipher.PubKey]int{}},
		work:   make(chan struct{}, runtime.GOMAXPROCS(0)),

		closing: make(chan struct{}),
		ran:     make(chan struct{}),
		ready:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		stale:   make(chan struct{}, 1),

		sessions: map[cipher.PubKey]*session{},
		drained:  map[*session]struct{}{},
		opening:  map[cipher.PubKey]*opening{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.lookups = &lookups{dir: cfg.Directory, ctx: c.ctx, start: c.start, entries: map[cipher.PubKey]*lookup{}}
	c.events = events{to: cfg.OnEvent, start: c.start}
	return c, nil
}

// PubKey returns the client's key.
func (c *Client) PubKey() cipher.PubKey { return c.key.PubKey() }

// Ready is closed once others can reach the client: it has a session, and its entry is
// in the discovery if there is one.
func (c *Client) Ready() <-chan struct{} { return c.ready }

// Run keeps the sessions and the entry until ctx ends or Close is called, then closes
// the client and returns nil. Whatever happens outside, it tries again; it fails only
// with ErrRunning, or ErrClosed.
func (c *Client) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return ErrRunning
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	if !c.start(func() {
		defer close(c.ran)
		wg.Go(func() { c.keep(ctx) })
		wg.Go(func() { c.publish(ctx) })
		wg.Wait()
	}) {
		return ErrClosed
	}
	select {
	case <-ctx.Done():
	case <-c.closing:
	}
	cancel()
	<-c.ran
	return c.Close()
}

// Close takes the entry out of the discovery, which it gives two seconds, ends all
// sessions and their streams, closes the listeners and returns when nothing of the
// client runs any more. It is idempotent. It must not be called by Config.OnEvent.
func (c *Client) Close() error {
	c.stop.Do(func() { close(c.closing) })
	if c.running.Load() {
		select {
		case <-c.ran:
		case <-c.ctx.Done(): // another Close is ahead, or Run never got to run
		}
	}
	c.life.Lock()
	c.ended = true
	c.life.Unlock()
	for _, l := range c.ports.close() {
		l.Close()
	}
	c.cancel()
	var closers sync.WaitGroup
	for _, s := range c.all() {
		closers.Go(func() { s.mux.Close() })
	}
	closers.Wait()
	c.wg.Wait()
	return nil
}

// start runs f in a goroutine that Close waits for. It reports false, and does not run
// f, once the client is closed.
func (c *Client) start(f func()) bool {
	c.life.Lock()
	defer c.life.Unlock()
	if c.ended {
		return false
	}
	c.wg.Go(f)
	return true
}

// Sessions returns the sessions, the oldest first.
func (c *Client) Sessions() []SessionInfo {
	all := c.all()
	infos := make([]SessionInfo, 0, len(all))
	c.mu.Lock()
	for _, s := range all {
		infos = append(infos, s.info())
	}
	c.mu.Unlock()
	slices.SortFunc(infos, func(a, b SessionInfo) int {
		return cmp.Or(a.Since.Compare(b.Since), a.Server.Compare(b.Server))
	})
	return infos
}

// FailedStreams returns how many incoming streams were not set up: garbage, refusals and
// dialers that gave up.
func (c *Client) FailedStreams() uint64 { return c.failed.Load() }

// all returns every session.
func (c *Client) all() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*session
	for _, s := range c.sessions {
		all = append(all, s)
	}
	for s := range c.drained {
		all = append(all, s)
	}
	return all
}

// connected returns the relays with which there are sessions that take new streams.
func (c *Client) connected() []cipher.PubKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pks []cipher.PubKey
	for pk := range c.sessions {
		pks = append(pks, pk)
	}
	return pks
}

// An opening is a session on its way up, for all who want it.
type opening struct {
	done    chan struct{}
	session *session
	err     error
	wanted  int // by how many; guarded by Client.mu
	cancel  context.CancelFunc
}

// session returns the session with the relay server, or opens one. Opening ends when the
// last of those who wait for it has given up.
func (c *Client) session(ctx context.Context, server cipher.PubKey) (*session, error) {
	c.mu.Lock()
	if s := c.sessions[server]; s != nil {
		c.mu.Unlock()
		return s, nil
	}
	o := c.opening[server]
	if o == nil {
		octx, cancel := context.WithCancel(c.ctx)
		o = &opening{done: make(chan struct{}), cancel: cancel}
		if !c.start(func() { c.open(octx, server, o) }) {
			c.mu.Unlock()
			cancel()
			return nil, ErrClosed
		}
		c.opening[server] = o
	}
	o.wanted++
	c.mu.Unlock()
	select {
	case <-o.done:
		return o.session, o.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if o.wanted--; o.wanted == 0 {
			o.cancel()
			if c.opening[server] == o { // who comes now begins anew
				delete(c.opening, server)
			}
		}
		return nil, context.Cause(ctx)
	}
}

// open makes the session, and is then its goroutine until it ends.
func (c *Client) open(ctx context.Context, server cipher.PubKey, o *opening) {
	defer o.cancel()
	entry, err := c.entryOf(ctx, server)
	var s *session
	if err == nil {
		s, err = c.connect(ctx, entry)
	}
	if err == nil {
		if err = c.register(s); err != nil {
			s.mux.Close()
		}
	}
	if err != nil && c.ctx.Err() != nil {
		err = ErrClosed
	}
	if err != nil && ctx.Err() == nil {
		c.relays.failed(server)
		c.log.Debug().Err(err).Stringer("relay", server).Msg("no session with relay")
	}
	o.session, o.err = s, err
	if err != nil {
		o.session = nil
	}
	c.mu.Lock()
	if c.opening[server] == o {
		delete(c.opening, server)
	}
	c.mu.Unlock()
	close(o.done)
	if err == nil {
		c.unregister(s, s.live())
	}
}

// register makes s the session with its relay.
func (c *Client) register(s *session) error {
	c.relays.worked(s.server, time.Duration(s.rtt.Load()))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || c.sessions[s.server] != nil {
		return proto.ErrSessionClosed // somebody gave up on this one, and the next was faster
	}
	c.sessions[s.server] = s
	c.log.Info().Stringer("relay", s.server).Str("addr", s.addr).Dur("rtt", time.Duration(s.rtt.Load())).Msg("session up")
	c.events.post(Event{Kind: EventUp, Server: s.server, Addr: s.addr})
	return nil
}

// drain takes s, whose relay asked its clients to move, out of those that are dialled
// and published. Its streams live on.
func (c *Client) drain(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[s.server] != s {
		return
	}
	delete(c.sessions, s.server)
	c.drained[s] = struct{}{}
	c.vacate(s)
	s.draining.Store(true)
	s.idle = time.Now()
	c.relays.drains(s.server)
	c.log.Info().Stringer("relay", s.server).Msg("relay asks its clients to move")
	c.events.post(Event{Kind: EventDrain, Server: s.server, Addr: s.addr})
	poke(c.wake)
}

// unregister forgets s, which has ended because of err.
func (c *Client) unregister(s *session, err error) {
	closing := c.ctx.Err() != nil
	if !closing {
		c.relays.ended(s.server, time.Since(s.since))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.drained, s)
	if c.sessions[s.server] == s {
		delete(c.sessions, s.server)
		c.vacate(s)
	}
	if closing || s.retired || s.draining.Load() {
		return
	}
	c.log.Warn().Err(err).Stringer("relay", s.server).Str("addr", s.addr).Msg("session lost")
	c.events.post(Event{Kind: EventDown, Server: s.server, Addr: s.addr, Err: err})
	poke(c.wake)
}

// vacate notes that the place of s among the kept sessions is to be filled. mu is held.
func (c *Client) vacate(s *session) {
	if !s.kept {
		return
	}
	s.kept = false
	c.left = append(c.left, s.server)
	poke(c.stale)
}

// poke sets a signal; one that is set stays so.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
