package skynet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// accept serves ln until it is closed. What keeps a listener from accepting, such
// as too many open files, passes: it waits and tries again.
func (f *forward) accept(ln net.Listener) {
	var p pause
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			p.reset()
			f.admit(conn)
		case f.ctx.Err() != nil:
			return
		case errors.Is(err, net.ErrClosed):
			f.failure(errPortClosed)
			return
		default:
			f.failure(fmt.Errorf("skynet: accept: %w", err))
			p.wait(f.ctx)
		}
	}
}

// errPortClosed ends a forward that was not stopped: the overlay is going down.
var errPortClosed = errors.New("skynet: the port was closed")

// A pause grows from 5 ms to 1 s while a port keeps failing.
type pause time.Duration

func (p *pause) reset() { *p = 0 }

// wait waits, until ctx ends at most.
func (p *pause) wait(ctx context.Context) {
	const shortest, longest = pause(5 * time.Millisecond), pause(time.Second)
	*p = min(max(2**p, shortest), longest)
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(*p)):
	}
}

// admit checks who has connected and starts a relay.
func (f *forward) admit(conn net.Conn) {
	r := &relay{forward: f}
	if f.spec.Expose != "" {
		r.key = f.service.cfg.Network.Key(conn.RemoteAddr())
		if !f.spec.allows(r.key) {
			f.refuse("skynet: " + r.key + " is not allowed and was refused")
			abort(conn)
			return
		}
	}
	f.mu.Lock()
	full := f.places.enter(r.key)
	if full == "" {
		f.relays[r] = struct{}{}
	}
	f.mu.Unlock()
	if full != "" {
		f.refuse(full)
		abort(conn)
		return
	}
	f.count.connections.Add(1)
	f.wg.Go(func() {
		defer r.end()
		f.connect(r, conn)
	})
}

// connect makes the other side of an accepted connection and joins the two.
func (f *forward) connect(r *relay, accepted net.Conn) {
	if !f.track(accepted) {
		return
	}
	defer f.release(accepted)
	ctx, cancel := context.WithTimeout(f.ctx, f.service.cfg.DialTimeout)
	made, err := f.dial(ctx)
	cancel()
	if err != nil {
		f.failure(err)
		abort(accepted)
		return
	}
	if !f.track(made) {
		return
	}
	defer f.release(made)
	if f.spec.Expose != "" {
		r.run(accepted, made)
	} else {
		r.run(made, accepted)
	}
}

// dial connects to the forward's target.
func (f *forward) dial(ctx context.Context) (net.Conn, error) {
	if f.spec.Reach != "" {
		return f.service.cfg.Network.Dial(ctx, f.spec.Reach) // its errors name the address
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", f.spec.Expose)
	if err != nil {
		return nil, fmt.Errorf("skynet: local service: %w", err)
	}
	return conn, nil
}

// abort closes conn so that the other end sees an error, not an end of data.
func abort(conn net.Conn) {
	switch c := conn.(type) {
	case interface{ Abort() error }:
		_ = c.Abort()
	case *net.TCPConn:
		_ = c.SetLinger(0) // RST in place of FIN
	}
	closeQuietly(conn)
}
