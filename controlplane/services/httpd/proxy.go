package httpd

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/proxyproto"
)

// proxyTimeout is how long a proxy has for its header.
const proxyTimeout = 5 * time.Second

// errTooMany says that a source has as many connections as it may.
var errTooMany = errors.New("httpd: too many connections of one source")

// A proxied connection comes from a proxy: its first read takes the header off, and
// finds it a place among those of its source. So a slow proxy does not hold up Accept.
type proxied struct {
	net.Conn
	l    *listener
	once sync.Once
	err  error
	from net.Addr // of the real peer; the proxy's where the header names none

	mu     sync.Mutex
	closed bool
	leave  func() // nil: it has no place
}

func newProxied(c net.Conn, l *listener) *proxied {
	return &proxied{Conn: c, l: l, from: c.RemoteAddr()}
}

// Read implements net.Conn.
func (c *proxied) Read(b []byte) (int, error) {
	c.once.Do(func() { c.err = c.header() })
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

// RemoteAddr returns the real peer's address once something was read.
func (c *proxied) RemoteAddr() net.Addr { return c.from }

// Close implements net.Conn.
func (c *proxied) Close() error {
	c.mu.Lock()
	c.closed = true
	leave := c.leave
	c.leave = nil
	c.mu.Unlock()
	if leave != nil {
		defer leave()
	}
	return c.Conn.Close()
}

// header takes the header off.
func (c *proxied) header() error {
	_ = c.SetReadDeadline(time.Now().Add(proxyTimeout))
	from, err := proxyproto.Read(c.Conn)
	if err != nil {
		return err
	}
	// The server sets its own deadline before each request, thus had set it before
	// this read; it is 5 s as well, so without one the request has a little longer.
	_ = c.SetReadDeadline(time.Now().Add(readTimeout))
	if !from.IsValid() {
		return nil
	}
	c.from = net.TCPAddrFromAddrPort(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	s := SourceOf(from.Addr())
	if !c.l.enter(s) {
		return errTooMany
	}
	c.leave = func() { c.l.leave(s) }
	return nil
}
