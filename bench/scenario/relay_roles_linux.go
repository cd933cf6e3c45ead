package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/daemon"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// hubConfig goes to what stands in the middle.
type hubConfig struct {
	Mode   string
	Secret cipher.SecKey
	Listen string
	Tail   string // where a proxy connects to
}

// hubTotals is what the middle used from when it was ready to when it was told to
// stop, at which moment Goroutines is how many it had more than at the beginning.
type hubTotals struct {
	CPUSeconds float64
	Goroutines int
}

// relayEnd goes to both ends.
type relayEnd struct {
	Secret  cipher.SecKey
	Hub     cipher.PubKey // the relay; zero where the hub is a proxy
	HubAddr string
	Peer    cipher.PubKey // whom the sender dials
	Listen  string        // where the receiver listens behind a proxy
	Seconds float64
	Streams int
	Verify  bool
	Cut     bool // end in time whatever is under way, and draw the receiver's curve
}

func relayRoles() []run.Role {
	return []run.Role{
		run.NewRole(relayHub, hubServe), run.NewRole(relayTx, relaySend), run.NewRole(relayRx, relayReceive),
		run.NewRole(relayIdlers, relayIdleConnect), run.NewRole(churnTx, churnDial), run.NewRole(churnRx, churnAccept),
		run.NewRole(stallTx, stallSend), run.NewRole(stallRx, stallHold),
	}
}

// hubServe is a relay or a proxy until ctx ends.
func hubServe(ctx context.Context, cfg hubConfig, ready func()) (t hubTotals, err error) {
	serve := func(ctx context.Context) error { return proxy(ctx, cfg) }
	if cfg.Mode == hubRelay {
		if serve, err = skydmsg(cfg); err != nil {
			return t, err
		}
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() { served <- serve(serving) }()
	begin, goroutines := cpuSeconds(), runtime.NumGoroutine()
	ready()
	select {
	case <-ctx.Done():
	case err := <-served:
		return t, fmt.Errorf("relay: the hub ended early: %w", err)
	}
	t.CPUSeconds, t.Goroutines = cpuSeconds()-begin, runtime.NumGoroutine()-goroutines
	stop()
	return t, <-served
}

// skydmsg returns the daemon that the program of that name runs, without limits on
// sessions from one address and without a discovery.
func skydmsg(cfg hubConfig) (func(context.Context) error, error) {
	c := daemon.Default()
	c.LocalAddress, c.PublicAddress = cfg.Listen, ""
	c.HealthAddress, c.Discovery = fmt.Sprintf(":%d", relayHealthPort), ""
	c.MaxPerAddress, c.MaxSessions = 0, relayMaxSessions
	c.DrainTimeout = daemon.Duration(time.Second)
	d, err := daemon.New(daemon.Options{Config: c, SecretKey: cfg.Secret, Version: "bench", Log: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	return d.Run, nil
}

// relayMaxSessions is more than any scenario opens.
const relayMaxSessions = 1 << 16

// proxy carries each connection on to cfg.Tail.
func proxy(ctx context.Context, cfg hubConfig) error {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		in, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		out, err := net.Dial("tcp", cfg.Tail)
		if err != nil {
			in.Close()
			return err
		}
		go proxyCopy(out, in, cfg.Mode)
		go proxyCopy(in, out, cfg.Mode)
	}
}

// proxyCopy passes one direction on and its end with it.
func proxyCopy(dst, src net.Conn, mode string) {
	defer func() { _ = dst.(*net.TCPConn).CloseWrite() }() // fails where the other end has gone
	if mode == hubSplice {
		_, _ = io.Copy(dst, src)
		return
	}
	// Without the methods that io.Copy would use instead of the buffer.
	_, _ = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 64<<10))
}

// client connects an end to the relay.
func (cfg relayEnd) client(ctx context.Context) (*dmsg.Client, error) {
	c := dmsg.DefaultConfig()
	c.SecKey, c.MinSessions, c.Log = cfg.Secret, 1, zerolog.Nop()
	c.Servers = []*disc.Entry{disc.NewServer(cfg.Hub, cfg.HubAddr, 1, time.Now())}
	client, err := dmsg.New(c)
	if err != nil {
		return nil, err
	}
	go func() { _ = client.Run(ctx) }()
	select {
	case <-client.Ready():
		return client, nil
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), client.Close())
	case <-time.After(10 * time.Second):
		return nil, errors.Join(errors.New("relay: no session with the relay within 10 s"), client.Close())
	}
}

// dialer returns how to open a stream, and what to close in the end.
func (cfg relayEnd) dialer(ctx context.Context) (dial func() (net.Conn, error), done func() error, err error) {
	if cfg.Hub.IsZero() {
		return func() (net.Conn, error) { return net.Dial("tcp", cfg.HubAddr) }, func() error { return nil }, nil
	}
	c, err := cfg.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func() (net.Conn, error) { return c.Dial(ctx, proto.Addr{PK: cfg.Peer, Port: relayPort}) }, c.Close, nil
}

// relaySend opens all streams, then writes to them until the time is over and the
// other end has read everything.
func relaySend(ctx context.Context, cfg relayEnd, ready func()) (t streamTotals, err error) {
	dial, done, err := cfg.dialer(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, done()) }()
	var conns []net.Conn
	for range cfg.Streams {
		c, err := dial()
		if err != nil {
			return t, err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	ready()
	start, cpu := time.Now(), cpuSeconds()
	end := start.Add(time.Duration(cfg.Seconds * float64(time.Second)))
	t.Bytes, err = writeAll(conns, end, cfg.Cut)
	t.Seconds, t.CPUSeconds = time.Since(start).Seconds(), cpuSeconds()-cpu
	return t, err
}

// relayReceive reads all streams to their ends.
func relayReceive(ctx context.Context, cfg relayEnd, ready func()) (t streamTotals, err error) {
	l, done, err := cfg.listen(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, done()) }()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready()
	var m streamMeter
	if cfg.Cut {
		go m.watch(ctx)
	}
	err = acceptAll(l, func(c net.Conn) error {
		if cfg.Cut {
			defer context.AfterFunc(ctx, func() { c.Close() })()
		}
		return m.drain(c, cfg.Verify, cfg.Cut)
	}).Wait()
	return m.totals(), err
}

func (cfg relayEnd) listen(ctx context.Context) (net.Listener, func() error, error) {
	if cfg.Hub.IsZero() {
		l, err := net.Listen("tcp", cfg.Listen)
		return l, func() error { return nil }, err
	}
	// The role's ctx ends when the sender is done; the session must outlive it for
	// the last stream to be read to its end.
	c, err := cfg.client(context.WithoutCancel(ctx))
	if err != nil {
		return nil, nil, err
	}
	l, err := c.Listen(relayPort)
	return l, c.Close, err
}
