package udpio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// openPortable opens the one socket of a portable group. One, because without
// steering the workers would get each other's packets, and because SO_REUSEPORT
// spreads nothing on the BSDs.
func openPortable(cfg Config, lc net.ListenConfig) ([]*net.UDPConn, error) {
	pc, err := lc.ListenPacket(context.Background(), network(cfg), unmap(cfg.Addr).String())
	if err != nil {
		return nil, err
	}
	return []*net.UDPConn{pc.(*net.UDPConn)}, nil
}

// network returns the name by which package net opens the right kind of socket:
// "udp" with [::] is dual stack.
func network(cfg Config) string {
	switch a := cfg.Addr.Addr().Unmap(); {
	case a.Is4():
		return "udp4"
	case a.IsUnspecified():
		return "udp"
	default:
		return "udp6"
	}
}

// setPortableOptions asks for socket buffers and takes the answer on trust: there
// is no portable way to read them back.
func (c *Conn) setPortableOptions(cfg Config) error {
	if cfg.RecvBuf > 0 {
		if err := c.udp.SetReadBuffer(cfg.RecvBuf); err != nil {
			return err
		}
	}
	if cfg.SendBuf > 0 {
		if err := c.udp.SetWriteBuffer(cfg.SendBuf); err != nil {
			return err
		}
	}
	c.recvBuf, c.sendBuf = cfg.RecvBuf, cfg.SendBuf
	return nil
}

// readPortable reads one datagram.
func (c *Conn) readPortable(b *Batch) error {
	for {
		buf := b.slot(0)
		n, from, err := c.udp.ReadFromUDPAddrPort(buf)
		switch {
		case err != nil && transient(err):
			continue
		case err != nil:
			return fmt.Errorf("udpio: read: %w", err)
		case n == 0:
			c.drop(DropRecvEmpty, 1)
			continue
		}
		b.Pkts[0] = Superpacket{Data: buf[:n:n], Seg: n, From: unmap(from)}
		b.N = 1
		c.rx.add(1, n, 1)
		return nil
	}
}

// flushPortable sends the queue one datagram at a time.
func (w *Writer) flushPortable() error {
	for i := range w.queue[:w.n] {
		e := &w.queue[i]
		for off := 0; off < len(e.data); off += e.seg {
			b := e.data[off:min(off+e.seg, len(e.data))]
			_, err := w.conn.udp.WriteToUDPAddrPort(b, e.to)
			switch {
			case err == nil:
				w.sent.datagrams++
				w.sent.bytes += len(b)
				w.sent.batches++
			case errors.Is(err, net.ErrClosed):
				return fmt.Errorf("udpio: write: %w", err)
			default:
				w.drop(&entry{b, len(b), e.to}, 0, dropReason(err))
			}
		}
	}
	return nil
}

// dropReason sorts an error of a send.
func dropReason(err error) DropReason {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok { // package net's own, such as an address of the wrong family
		return DropBadAddress
	}
	switch errno {
	case syscall.EMSGSIZE:
		return DropTooBig
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.ECONNREFUSED, syscall.EACCES, syscall.EPERM:
		return DropUnreachable
	case syscall.ENOBUFS, syscall.ENOMEM:
		return DropNoBuffers
	case syscall.EINVAL, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL, syscall.EDESTADDRREQ:
		return DropBadAddress
	default:
		return DropSendOther
	}
}

// transient reports whether an error of a receive concerns one packet, ours or a
// peer's: the kernel reports an ICMP error for something sent earlier on the next
// call, whichever that is, and clears it thereby.
func transient(err error) bool {
	errno, _ := errors.AsType[syscall.Errno](err)
	switch errno {
	case syscall.EINTR, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
		syscall.ENETDOWN, syscall.EMSGSIZE, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EACCES, syscall.ENOMEM, syscall.ENOBUFS:
		return true
	}
	return false
}
