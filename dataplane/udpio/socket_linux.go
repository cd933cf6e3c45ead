package udpio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// native says that there is a faster way here than package net.
const native = true

// openSockets binds cfg.Workers sockets to one address.
//
// The kernel numbers the sockets of a SO_REUSEPORT group in the order in which
// they were bound (net/core/sock_reuseport.c), which is what the steering program
// returns. The program goes on the first socket before bind: so no packet is ever
// spread by hash, and the kernel refuses a port on which another process of this
// user already has such a group, instead of joining it.
func openSockets(cfg Config) (socks []*net.UDPConn, err error) {
	if cfg.Portable {
		return openPortable(cfg, net.ListenConfig{})
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(socks))
		}
	}()
	addr := unmap(cfg.Addr)
	for i := range cfg.Workers {
		lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
			return joinGroup(rc, cfg, i == 0)
		}}
		pc, err := lc.ListenPacket(context.Background(), network(cfg), addr.String())
		if err != nil {
			return socks, err
		}
		s := pc.(*net.UDPConn)
		socks = append(socks, s)
		// The others join the port that the first one got.
		addr = netip.AddrPortFrom(addr.Addr(), s.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	}
	return socks, nil
}

// joinGroup prepares an unbound socket for its group.
func joinGroup(rc syscall.RawConn, cfg Config, first bool) error {
	if cfg.Workers == 1 {
		return nil
	}
	return control(rc, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("set SO_REUSEPORT: %w", err)
		}
		if first && cfg.Steer {
			return attachSteering(fd, cfg.Workers)
		}
		return nil
	})
}

// setOptions sets what may be set on a bound socket.
func (c *Conn) setOptions(cfg Config) error {
	if c.portable {
		return errors.Join(c.setPortableOptions(cfg), c.readBackBuffers(), c.SetDF(true))
	}
	err := control(c.raw, func(fd int) error {
		return errors.Join(
			setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, cfg.RecvBuf),
			setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, cfg.SendBuf),
		)
	})
	if err := errors.Join(err, c.readBackBuffers(), c.SetDF(true)); err != nil {
		return err
	}
	return c.probeOffloads(cfg)
}

// probeOffloads switches on what is wanted and what the kernel has.
func (c *Conn) probeOffloads(cfg Config) error {
	return control(c.raw, func(fd int) error {
		// A size of 0 is the default: no segmentation unless the message asks.
		if !cfg.NoGSO {
			err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0)
			c.gso.Store(err == nil)
			if err != nil {
				c.log.Info().Err(err).Msg("no UDP segmentation offload in this kernel")
			}
		}
		if !cfg.NoGRO {
			err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
			c.gro = err == nil
			if err != nil {
				c.log.Info().Err(err).Msg("no UDP receive offload in this kernel")
			}
		}
		return nil
	})
}

// setBuffer asks for a socket buffer of size bytes: with CAP_NET_ADMIN beyond the
// sysctl limit, else up to it (socket(7)).
func setBuffer(fd, force, plain, size int) error {
	if size == 0 {
		return nil
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
}

// readBackBuffers notes the buffer sizes that the kernel gave. It doubles the value
// that is set, for its own overhead, and reports the double.
func (c *Conn) readBackBuffers() error {
	return control(c.raw, func(fd int) (err error) {
		rcv, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		snd, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		c.recvBuf, c.sendBuf = rcv/2, snd/2
		return errors.Join(err1, err2)
	})
}

// control runs f on the descriptor and returns its error.
func control(rc syscall.RawConn, f func(fd int) error) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}
