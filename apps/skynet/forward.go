package skynet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Info is a forward, and how it does.
type Info struct {
	ID   string
	Spec Spec
	Addr string // where it listens: local, or on the overlay

	Open        int    // connections, or UDP clients, now
	Connections uint64 // that there were, open ones included
	Refused     uint64 // connections and datagrams that were not allowed or over a limit
	Failed      uint64 // connections that broke, or whose other side was not reached
	RecvBytes   uint64 // that came from the overlay
	SentBytes   uint64 // that went into it

	LastError   string
	LastErrorAt time.Time
}

// counters are a forward's figures that go up by themselves.
type counters struct {
	connections, refused, failed, recv, sent atomic.Uint64
}

// A forward is one open port and what goes through it.
type forward struct {
	service *Service
	id      string
	spec    Spec
	addr    string
	log     zerolog.Logger
	count   counters

	ctx    context.Context // ends when the forward is stopped
	cancel context.CancelFunc
	wg     sync.WaitGroup // its goroutines

	mu      sync.Mutex
	stopped bool
	open    map[io.Closer]struct{} // ports and connections, closed by stop
	relays  map[*relay]struct{}    // TCP connections under way
	places  *places                // that these have
	clients func() int             // UDP: how many there are

	lastError   string
	lastErrorAt time.Time
}

// start opens the port of spec and serves it.
func (s *Service) start(id string, spec Spec) (*forward, error) {
	ctx, cancel := context.WithCancel(context.Background())
	f := &forward{
		service: s, id: id, spec: spec,
		log: s.cfg.Log.With().Str("forward", id).Logger(),
		ctx: ctx, cancel: cancel,
		open:   map[io.Closer]struct{}{},
		relays: map[*relay]struct{}{},
	}
	f.places = newPlaces(&f.spec, s.cfg.MaxConns, "connections")
	open := f.startTCP
	if spec.UDP {
		open = f.startUDP
	}
	if err := open(); err != nil {
		cancel()
		return nil, err
	}
	f.log.Info().Str("addr", f.addr).Str("target", spec.target()).Msg("forward started")
	return f, nil
}

// startTCP listens on either side.
func (f *forward) startTCP() error {
	var ln net.Listener
	var err error
	if f.spec.Expose != "" {
		ln, err = f.service.cfg.Network.Listen(f.spec.Port)
	} else {
		ln, err = net.Listen("tcp", f.spec.Local)
	}
	if err != nil {
		return fmt.Errorf("skynet: %w", err)
	}
	f.addr = ln.Addr().String()
	f.track(ln)
	f.wg.Go(func() { f.accept(ln) })
	return nil
}

// track has c closed when the forward stops. It returns false, and closes c, if
// that has happened already.
func (f *forward) track(c io.Closer) bool {
	f.mu.Lock()
	stopped := f.stopped
	if !stopped {
		f.open[c] = struct{}{}
	}
	f.mu.Unlock()
	if stopped {
		closeQuietly(c)
	}
	return !stopped
}

// release closes what track took.
func (f *forward) release(c io.Closer) {
	f.mu.Lock()
	delete(f.open, c)
	f.mu.Unlock()
	closeQuietly(c)
}

// closeQuietly closes c when it no longer matters whether that succeeds.
func closeQuietly(c io.Closer) { _ = c.Close() }

// stop closes everything and waits until it has ended.
func (f *forward) stop() {
	f.mu.Lock()
	f.stopped = true
	open := f.open
	f.open = map[io.Closer]struct{}{}
	f.mu.Unlock()
	f.cancel()
	for c := range open {
		closeQuietly(c)
	}
	f.wg.Wait()
	f.log.Info().Msg("forward stopped")
}

// failure counts and keeps an error for List; those of a forward that is being
// stopped are no failures.
func (f *forward) failure(err error) {
	if f.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return
	}
	f.count.failed.Add(1)
	f.note(err.Error())
}

// refuse counts and keeps why somebody was turned away.
func (f *forward) refuse(why string) {
	f.count.refused.Add(1)
	f.note(why)
}

// note keeps text as the last error.
func (f *forward) note(text string) {
	now := time.Now()
	f.mu.Lock()
	f.lastError, f.lastErrorAt = text, now
	f.mu.Unlock()
	f.log.Debug().Msg(text)
}

// info returns a snapshot.
func (f *forward) info() Info {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := Info{
		ID: f.id, Spec: f.spec, Addr: f.addr,
		Open:        len(f.relays),
		Connections: f.count.connections.Load(),
		Refused:     f.count.refused.Load(),
		Failed:      f.count.failed.Load(),
		RecvBytes:   f.count.recv.Load(),
		SentBytes:   f.count.sent.Load(),
		LastError:   f.lastError, LastErrorAt: f.lastErrorAt,
	}
	for r := range f.relays {
		recv, sent := r.underway()
		i.RecvBytes += recv
		i.SentBytes += sent
	}
	if f.clients != nil {
		i.Open = f.clients()
	}
	return i
}
