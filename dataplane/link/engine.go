package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

const second = int64(time.Second)

// maxTracked bounds the peers whose handshake timestamps are remembered: those with
// a live link.
const maxTracked = 1 << 16

// lastSTUNByte is the largest first byte of a STUN message (RFC 7983 section 7).
const lastSTUNByte = 3

// A Config says who we are and where we listen.
type Config struct {
	Static *cipher.StaticKey
	// UDP is the address for SUDPH links; the zero value switches them off. TCP is
	// where STCPR links are accepted; the zero value accepts none, dialling works
	// all the same.
	UDP, TCP netip.AddrPort
	// Streams opens the byte streams that DMSG links run over: one to the visor with
	// key peer, whose key whoever carries the stream has proved already. nil: no DMSG
	// links. Engine.AcceptStream takes those that come in.
	Streams func(ctx context.Context, peer cipher.PubKey) (net.Conn, error)
	// Workers is the number of UDP sockets and packet workers, 0 for one per CPU.
	Workers int
	Policy  Policy
	Limits  noise.Limits
	// Clock gives handshake timestamps, never the same or a smaller one twice.
	Clock *noise.Clock
	// STUN, if not nil, takes datagrams whose first byte says STUN. It runs on a
	// packet worker; the datagram is borrowed.
	STUN func(datagram []byte, from netip.AddrPort)
	// OnLink, if not nil, hears of links that come up and go down, in order and one at
	// a time, after the Handler has; why is nil when up. It must return quickly.
	OnLink func(l *Link, up bool, why error)
	// IO is copied into the socket group's configuration: offload switches for
	// tests and bad network cards. Addr, Workers, Steer and Log are set here.
	IO  udpio.Config
	Log zerolog.Logger
}

// DefaultConfig listens on nothing; set Static and the addresses.
func DefaultConfig() Config {
	return Config{
		Policy: DefaultPolicy(),
		Limits: noise.DefaultLimits(),
		IO:     udpio.DefaultConfig(),
		Log:    zerolog.Nop(),
	}
}

// An Engine owns sockets, workers and links. All methods are safe for concurrent
// use.
type Engine struct {
	cfg     Config
	pk      cipher.PubKey
	handler Handler
	log     zerolog.Logger
	start   time.Time
	clock   atomic.Int64 // ns since start, refreshed by every batch and every tick

	udp     *udpio.Group // nil without SUDPH
	tcp     net.Listener // nil without STCPR
	workers []*worker
	keys    packet.Slots[rxKey]
	txs     sync.Pool
	txSeq   atomic.Uint32

	carried *acceptGate // of inbound DMSG links
	stun    stunWriter

	shake  *shaker
	events eventQueue
	guard  *noise.ReplayGuard
	tooBig atomic.Pointer[netip.AddrPort] // somewhere that a datagram was too big for
	counters

	// Order of locks: worker.mu, Link.mu, Engine.mu. The ring's and the index
	// allocator's are taken under any of them.
	indices indexAllocator
	making  sync.Mutex // held while a link comes into being; first of all
	lastID  uint32     // guarded by making

	mu      sync.Mutex // guards what follows
	links   map[linkKey]*Link
	inbound int // links that neighbours opened, and how many from each place
	perAddr map[netip.Prefix]int
	// expected may come in whatever the policy says; see Expect.
	expected map[cipher.PubKey]bool
	closed   bool
	ctx      context.Context // of Run
	stop     context.CancelFunc
	streams  sync.WaitGroup // goroutines of stream links
}

type linkKey struct {
	peer cipher.PubKey
	typ  Type
}

// New opens the sockets; Run starts to use them, and closes them in the end: an
// engine that is not wanted after all is Run with a context that has ended. The
// handler gets all bursts and link events from then on.
func New(cfg Config, handler Handler) (*Engine, error) {
	if cfg.Static == nil {
		return nil, errors.New("link: no static key")
	}
	e := &Engine{
		cfg:      cfg,
		pk:       cfg.Static.PubKey(),
		handler:  handler,
		log:      cfg.Log,
		start:    time.Now(),
		links:    map[linkKey]*Link{},
		perAddr:  map[netip.Prefix]int{},
		expected: map[cipher.PubKey]bool{},
		guard:    noise.NewReplayGuard(maxTracked),
		carried:  newAcceptGate(),
	}
	if err := cfg.Limits.Validate(); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	if e.cfg.Clock == nil {
		clock, err := noise.NewClock("", cfg.Log)
		if err != nil {
			return nil, fmt.Errorf("link: %w", err)
		}
		e.cfg.Clock = clock
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.indices.gen = uint8(rand.Uint32())
	e.events.wake = make(chan struct{}, 1)
	e.txs.New = func() any { return e.newTx(int(e.txSeq.Add(1))) }
	e.shake = newShaker(e)
	if err := e.listen(); err != nil {
		e.closeSockets()
		return nil, err
	}
	return e, nil
}

func (e *Engine) listen() (err error) {
	if e.cfg.UDP.IsValid() {
		io := e.cfg.IO
		io.Addr, io.Steer, io.Log = e.cfg.UDP, true, e.log
		io.Workers = e.cfg.Workers
		if io.Workers <= 0 {
			io.Workers = min(runtime.GOMAXPROCS(0), udpio.MaxWorkers)
		}
		if e.udp, err = udpio.Listen(io); err != nil {
			return fmt.Errorf("link: %w", err)
		}
		for i := range e.udp.Len() {
			e.workers = append(e.workers, newWorker(e, i))
		}
		e.stun.init(e.udp.Conn(0))
	}
	if e.cfg.TCP.IsValid() {
		if e.tcp, err = listenTCP(e.cfg.TCP); err != nil {
			return fmt.Errorf("link: listen for stcpr: %w", err)
		}
	}
	return nil
}

// Run moves packets until ctx ends or a socket fails, then tells every neighbour,
// closes the sockets and returns when all work has stopped.
func (e *Engine) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, w := range e.workers {
		g.Go(w.run)
	}
	g.Go(func() error { return e.shake.run(gctx) })
	g.Go(func() error { return e.runTimer(gctx) })
	events := make(chan struct{})
	go func() { defer close(events); e.events.run() }()
	if e.tcp != nil {
		g.Go(func() error { return e.acceptLoop(gctx) })
	}
	g.Go(func() error {
		<-gctx.Done()
		e.shutdown()
		return nil
	})
	err := g.Wait()
	e.streams.Wait()
	e.events.close()
	<-events
	return err
}

// shutdown says goodbye on every link and closes the sockets.
func (e *Engine) shutdown() {
	e.mu.Lock()
	e.closed = true
	links := e.snapshot()
	e.mu.Unlock()
	for _, l := range links {
		l.sendControl(packet.KindClose, []byte{CloseShutdown})
		l.end(errStopped)
	}
	e.stop()
	e.closeSockets()
}

func (e *Engine) closeSockets() {
	if e.udp != nil {
		_ = e.udp.Close()
	}
	if e.tcp != nil {
		_ = e.tcp.Close()
	}
}

// PubKey returns this visor's key.
func (e *Engine) PubKey() cipher.PubKey { return e.pk }

// Now reads the engine's clock: monotonic nanoseconds.
func (e *Engine) Now() int64 { return int64(time.Since(e.start)) }

// tick reads the clock and keeps the reading for those who need it only roughly.
func (e *Engine) tick() int64 {
	now := e.Now()
	e.clock.Store(now)
	return now
}

// UDPAddr returns the bound address for SUDPH links, TCPAddr that for STCPR; not
// valid where there is none.
func (e *Engine) UDPAddr() netip.AddrPort {
	if e.udp == nil {
		return netip.AddrPort{}
	}
	return e.udp.LocalAddr()
}

// TCPAddr returns the bound address for STCPR links.
func (e *Engine) TCPAddr() netip.AddrPort {
	if e.tcp == nil {
		return netip.AddrPort{}
	}
	return e.tcp.Addr().(*net.TCPAddr).AddrPort()
}

// Sockets returns the counters of the UDP sockets.
func (e *Engine) Sockets() udpio.Stats {
	if e.udp == nil {
		return udpio.Stats{}
	}
	return e.udp.Stats()
}

// Links returns all links, up or not.
func (e *Engine) Links() []*Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.snapshot()
}

func (e *Engine) snapshot() []*Link {
	links := make([]*Link, 0, len(e.links))
	for _, l := range e.links {
		links = append(links, l)
	}
	return links
}

// lookup returns the receive key with this index, or nil.
func (e *Engine) lookup(index uint32) *rxKey {
	if k := e.keys.Load(indexSlot(index)); k != nil && k.index == index && k.key != nil {
		return k
	}
	return nil
}

// tell tells Config.OnLink; it runs on the event goroutine.
func (e *Engine) tell(l *Link, up bool, why error) {
	if e.cfg.OnLink != nil {
		e.cfg.OnLink(l, up, why)
	}
}

// post queues f for the event goroutine, in order.
func (e *Engine) post(f func()) { e.events.post(f) }

// An eventQueue runs functions one after the other on a goroutine of its own: state
// changes on their way to the handler, which packet workers must not wait for.
type eventQueue struct {
	mu     sync.Mutex
	list   []func()
	wake   chan struct{}
	closed bool
}

func (q *eventQueue) post(f func()) {
	q.mu.Lock()
	if !q.closed {
		q.list = append(q.list, f)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run returns after close, when everything posted before it has run.
func (q *eventQueue) run() {
	for range q.wake {
		for {
			q.mu.Lock()
			list, closed := q.list, q.closed
			q.list = nil
			q.mu.Unlock()
			for _, f := range list {
				f()
			}
			if len(list) == 0 {
				if closed {
					return
				}
				break
			}
		}
	}
}

func (q *eventQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
