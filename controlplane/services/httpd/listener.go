package httpd

import (
	"net"
	"net/netip"
	"sync"
)

// ListenOptions bound what a listener accepts.
type ListenOptions struct {
	// Over says what the connections are.
	Over Over
	// PerSource is the most connections of one IPv4 address, of one IPv6 /64 or, over
	// dmsg, of one key; 0 is no limit.
	PerSource int
	// Proxies are the addresses of proxies that name the real peer in a PROXY
	// header, version 1 or 2, and it is that peer's connection that counts for
	// PerSource. From there a connection must begin with one; anywhere else such a
	// header is what it looks like, a bad request.
	Proxies []netip.Prefix
}

// Wrap returns a listener that accepts from l within the bounds of o. Connections
// beyond them are closed at once.
func Wrap(l net.Listener, o ListenOptions) net.Listener {
	return &listener{Listener: l, o: o, open: make(map[Source]int)}
}

type listener struct {
	net.Listener
	o ListenOptions

	mu   sync.Mutex
	open map[Source]int
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		caller := callerAt(c.RemoteAddr(), l.o.Over)
		if l.o.Over == OverTCP && l.trusted(caller.Addr) {
			return newProxied(c, l), nil
		}
		s := caller.Source()
		if !l.enter(s) {
			_ = c.Close()
			continue
		}
		return &counted{Conn: c, leave: sync.OnceFunc(func() { l.leave(s) })}, nil
	}
}

func (l *listener) trusted(a netip.Addr) bool {
	for _, p := range l.o.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (l *listener) enter(s Source) bool {
	if l.o.PerSource == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[s] >= l.o.PerSource {
		return false
	}
	l.open[s]++
	return true
}

func (l *listener) leave(s Source) {
	if l.o.PerSource == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[s]--; l.open[s] <= 0 {
		delete(l.open, s)
	}
}

// A counted connection leaves its place when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
