package ctl

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// pipeBuffer is how much a copy holds of one direction, in bytes: a full run of dmsg
// frames.
const pipeBuffer = 64 << 10

// A pipe joins two connections. It counts what each has sent.
type pipe struct {
	a, b         net.Conn
	fromA, fromB atomic.Uint64
}

// run copies both ways until both directions have ended; the end of one is passed on
// as such. Where one breaks, or ctx ends, both connections are broken off, so that
// neither end takes a part for the whole. It closes both.
func (p *pipe) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { abort(p.a); abort(p.b) })
	defer stop()
	up := make(chan error, 1)
	go func() { up <- p.direction(p.b, p.a, &p.fromA) }()
	err := p.direction(p.a, p.b, &p.fromB)
	if upErr := <-up; err == nil {
		err = upErr
	}
	_ = p.a.Close()
	_ = p.b.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// direction copies one way.
func (p *pipe) direction(dst, src net.Conn, count *atomic.Uint64) error {
	err := copyCounted(dst, src, count)
	if err == nil {
		err = closeWrite(dst)
	}
	if err != nil {
		abort(dst)
		abort(src)
		if errors.Is(err, net.ErrClosed) {
			return nil // the echo of what broke the other direction
		}
	}
	return err
}

// copyCounted copies src to dst and adds to count as it goes.
func copyCounted(dst io.Writer, src io.Reader, count *atomic.Uint64) error {
	// Neither side copies by itself: they would not count.
	_, err := io.CopyBuffer(counter{dst, count}, struct{ io.Reader }{src}, make([]byte, pipeBuffer))
	return err
}

// A counter is a Writer that counts.
type counter struct {
	io.Writer
	count *atomic.Uint64
}

// Write implements io.Writer.
func (c counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.count.Add(uint64(n))
	return n, err
}

// closeWrite ends one half of conn; that it is over already is no error.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return conn.Close()
	}
	_ = half.CloseWrite() // it fails only where the connection is over, which reading sees as well
	return nil
}

// abort closes conn so that the other end sees an error, not an end of data.
func abort(conn net.Conn) {
	switch c := conn.(type) {
	case interface{ Reset() }:
		c.Reset()
	case *net.TCPConn:
		_ = c.SetLinger(0) // RST in place of FIN
	}
	_ = conn.Close()
}
