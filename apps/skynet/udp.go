package skynet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxDatagram is the largest UDP payload, in bytes.
	maxDatagram = 65507
	// maxWaiting is how many datagrams of a new client wait while the other side
	// is being dialled; more are dropped, as any queue does.
	maxWaiting = 16
)

// startUDP opens a datagram port on either side.
func (f *forward) startUDP() error {
	if f.spec.Expose != "" {
		port, err := f.service.cfg.Network.ListenPacket(f.spec.Port)
		if err != nil {
			return fmt.Errorf("skynet: %w", err)
		}
		f.addr = port.LocalAddr().String()
		fs := &flows[net.Addr]{
			forward: f, in: &f.count.recv, out: &f.count.sent,
			dial: func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "udp", f.spec.Expose)
			},
			answer: port.WriteTo,
			key:    f.service.cfg.Network.Key,
		}
		fs.serve(port, func(b []byte) (int, net.Addr, error) {
			for {
				n, from, err := port.ReadFrom(b)
				if err != nil || f.spec.allows(f.service.cfg.Network.Key(from)) {
					return n, from, err
				}
				f.refuse("skynet: " + f.service.cfg.Network.Key(from) + " is not allowed and was refused")
			}
		})
		return nil
	}
	addr, err := netip.ParseAddrPort(f.spec.Local)
	if err != nil {
		return fmt.Errorf("skynet: local address %q: %w", f.spec.Local, err)
	}
	port, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return fmt.Errorf("skynet: %w", err)
	}
	f.addr = port.LocalAddr().String()
	fs := &flows[netip.AddrPort]{
		forward: f, in: &f.count.sent, out: &f.count.recv,
		dial: func(ctx context.Context) (net.Conn, error) {
			return f.service.cfg.Network.DialPacket(ctx, f.spec.Reach)
		},
		answer: port.WriteToUDPAddrPort,
		key:    func(netip.AddrPort) string { return "" },
	}
	fs.serve(port, port.ReadFromUDPAddrPort)
	return nil
}

// flows are the clients of a UDP forward; A is the type of their addresses. Each has
// a connection of its own to the target, so that answers find their way back.
type flows[A comparable] struct {
	forward *forward
	in, out *atomic.Uint64 // bytes from clients, bytes to clients
	dial    func(ctx context.Context) (net.Conn, error)
	answer  func(b []byte, to A) (int, error)
	key     func(from A) string // of the visor that a client is at, "" for local ones

	mu     sync.Mutex
	m      map[A]*flow
	places *places
}

// A flow is one client.
type flow struct {
	key     string      // as flows.key says
	waiting chan []byte // owned copies, until there is a connection
	conn    atomic.Pointer[net.Conn]
	active  atomic.Bool // something passed since the last look
}

// serve takes datagrams from port, by read, until it is closed.
func (fs *flows[A]) serve(port net.PacketConn, read func(b []byte) (int, A, error)) {
	fs.m = map[A]*flow{}
	f := fs.forward
	fs.places = newPlaces(&f.spec, f.service.cfg.MaxClients, "UDP clients")
	f.clients = func() int {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		return len(fs.m)
	}
	f.track(port)
	f.wg.Go(func() {
		b := make([]byte, maxDatagram)
		var p pause
		for {
			n, from, err := read(b)
			switch {
			case err == nil:
				p.reset()
				fs.take(from, b[:n])
			case f.ctx.Err() != nil:
				return
			case errors.Is(err, net.ErrClosed):
				f.failure(errPortClosed)
				return
			default: // such as an ICMP error for an earlier answer
				f.failure(fmt.Errorf("skynet: receive: %w", err))
				p.wait(f.ctx)
			}
		}
	})
}

// take passes on a datagram, borrowed, of the client at from.
func (fs *flows[A]) take(from A, b []byte) {
	fs.mu.Lock()
	fl, ok := fs.m[from]
	if !ok {
		key := fs.key(from)
		if full := fs.places.enter(key); full != "" {
			fs.mu.Unlock()
			fs.forward.refuse(full)
			return
		}
		fl = &flow{key: key, waiting: make(chan []byte, maxWaiting)}
		fs.m[from] = fl
	}
	fs.mu.Unlock()
	if !ok {
		fs.forward.count.connections.Add(1)
		fs.forward.wg.Go(func() { fs.run(from, fl) })
	}
	fl.active.Store(true)
	if conn := fl.conn.Load(); conn != nil {
		fs.send(*conn, b)
		return
	}
	select {
	case fl.waiting <- append([]byte(nil), b...):
	default:
	}
	if conn := fl.conn.Load(); conn != nil {
		fs.drain(fl, *conn) // it came up in between and may have missed this one
	}
}

// drain sends what has waited for conn.
func (fs *flows[A]) drain(fl *flow, conn net.Conn) {
	for {
		select {
		case b := <-fl.waiting:
			fs.send(conn, b)
		default:
			return
		}
	}
}

// send gives one datagram to the target. Losing one is what UDP does; the error is
// kept to be seen.
func (fs *flows[A]) send(conn net.Conn, b []byte) {
	n, err := conn.Write(b)
	fs.in.Add(uint64(n))
	if err != nil && !errors.Is(err, net.ErrClosed) {
		fs.forward.note("skynet: send: " + cause(err).Error())
	}
}

// run dials for a client and brings it the answers, until it has been idle.
func (fs *flows[A]) run(from A, fl *flow) {
	f := fs.forward
	defer func() {
		fs.mu.Lock()
		delete(fs.m, from)
		fs.places.leave(fl.key)
		fs.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(f.ctx, f.service.cfg.DialTimeout)
	conn, err := fs.dial(ctx)
	cancel()
	if err != nil {
		f.failure(fmt.Errorf("skynet: %s: %w", f.spec.target(), err))
		return
	}
	if !f.track(conn) {
		return
	}
	defer f.release(conn)
	fl.conn.Store(&conn)
	fs.drain(fl, conn)
	fs.answers(from, fl, conn)
}

// answers brings the client what comes from the target. Datagrams of one client are
// far apart as a rule, so the deadline stands for a whole period and is not moved
// with each of them.
func (fs *flows[A]) answers(from A, fl *flow, conn net.Conn) {
	b := make([]byte, maxDatagram)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(fs.forward.service.cfg.UDPIdle)); err != nil {
			return // closed
		}
		for {
			n, err := conn.Read(b)
			if err == nil {
				fl.active.Store(true)
				n, err = fs.answer(b[:n], from)
				fs.out.Add(uint64(n))
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil && fs.over(err) {
				return
			}
		}
		if !fl.active.Swap(false) {
			return
		}
	}
}

// over says whether err ends a client. A refused datagram does not: the service may
// come back, and whoever sends to it does not know of our connection.
func (fs *flows[A]) over(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	fs.forward.failure(fmt.Errorf("skynet: %s: %w", fs.forward.spec.target(), cause(err)))
	return !errors.Is(err, syscall.ECONNREFUSED) // ICMP port unreachable, udp(7)
}
