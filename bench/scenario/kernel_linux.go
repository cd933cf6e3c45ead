package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/bench/topo"
)

// kernelBuffers lets the kernel's TCP grow its buffers to 64 MiB: five times what is
// under way at 200 Mbit/s and 500 ms.
const kernelBuffers = "4096 131072 67108864"

// kernelTransfer sends over streams of the kernel's TCP from l.A to l.B for d, with
// CUBIC and large buffers, then cuts them off. What arrives is checked as streams of
// ours are.
func kernelTransfer(ctx context.Context, l *topo.Link, d time.Duration, streams int) (streamTotals, error) {
	for _, ns := range []*topo.Namespace{l.A.NS, l.B.NS} {
		if err := errors.Join(
			ns.Sysctl("net/ipv4/tcp_rmem", kernelBuffers),
			ns.Sysctl("net/ipv4/tcp_wmem", kernelBuffers),
		); err != nil {
			return streamTotals{}, err
		}
	}
	listener, err := l.B.NS.Listen(netip.AddrPortFrom(l.B.IPv4.Addr(), 0).String())
	if err != nil {
		return streamTotals{}, err
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var m streamMeter
	go m.watch(ctx)
	var receivers, senders errgroup.Group
	accepted := make(chan net.Conn, streams)
	receivers.Go(func() error {
		defer close(accepted)
		for range streams {
			c, err := listener.Accept()
			if err != nil {
				return err
			}
			accepted <- c
			receivers.Go(func() error { return m.drain(c, false, true) })
		}
		return nil
	})
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range streams {
		if err := l.A.NS.Do(func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
			if err != nil {
				return err
			}
			conns = append(conns, c)
			return useCubic(c)
		}); err != nil {
			listener.Close()
			return streamTotals{}, errors.Join(fmt.Errorf("longfat: kernel stream: %w", err), receivers.Wait())
		}
	}
	end := time.Now().Add(d + 2*longfatDelay)
	for _, c := range conns {
		senders.Go(func() error {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			_, err := writeUntil(c, end, true)
			return err
		})
	}
	err = senders.Wait()
	for c := range accepted { // one for each dialled
		c.Close()
	}
	err = errors.Join(err, receivers.Wait())
	return m.totals(), err
}

// useCubic sets the congestion control of a TCP connection. The sysctl for all of a
// namespace refuses whatever the machine has not allowed to every user.
func useCubic(c net.Conn) error {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
	})
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("congestion control cubic: %w", err)
	}
	return nil
}
