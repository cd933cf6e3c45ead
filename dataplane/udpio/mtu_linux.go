package udpio

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setDF sets IP_MTU_DISCOVER and, on an AF_INET6 socket, IPV6_MTU_DISCOVER as well:
// what a dual stack socket sends to IPv4 obeys the former.
func setDF(rc syscall.RawConn, on, v4only bool) error {
	v4, v6 := unix.IP_PMTUDISC_DONT, unix.IPV6_PMTUDISC_DONT
	if on {
		v4, v6 = unix.IP_PMTUDISC_PROBE, unix.IPV6_PMTUDISC_PROBE
	}
	return control(rc, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, v4); err != nil {
			return fmt.Errorf("set IP_MTU_DISCOVER: %w", err)
		}
		if v4only {
			return nil
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, v6); err != nil {
			return fmt.Errorf("set IPV6_MTU_DISCOVER: %w", err)
		}
		return nil
	})
}

// PathMTUHint returns the MTU in bytes, IP header included, that the kernel
// believes the path to an address has: that of the outgoing device, or less where
// an ICMP message said so. Nothing is sent. It is a starting point for probing, not a
// promise. Errors: no route; ErrNotSupported elsewhere than on Linux.
func PathMTUHint(to netip.AddrPort) (int, error) {
	to = unmap(to)
	if to.Port() == 0 { // connect(2) wants one, and it changes nothing
		to = netip.AddrPortFrom(to.Addr(), 9)
	}
	s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return 0, fmt.Errorf("udpio: path MTU hint: %w", err)
	}
	defer func() { _ = s.Close() }() // nothing was sent that could fail
	rc, err := s.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("udpio: path MTU hint: %w", err)
	}
	level, opt := unix.SOL_IP, unix.IP_MTU
	if to.Addr().Is6() {
		level, opt = unix.SOL_IPV6, unix.IPV6_MTU
	}
	var mtu int
	err = control(rc, func(fd int) (err error) {
		mtu, err = unix.GetsockoptInt(fd, level, opt)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("udpio: path MTU hint: %w", err)
	}
	return mtu, nil
}

// kernelDrops reads how many packets the kernel threw away because the receive
// buffer was full (SO_MEMINFO, Linux 4.12), or 0 if it does not tell.
func kernelDrops(rc syscall.RawConn) uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	err := control(rc, func(fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}
