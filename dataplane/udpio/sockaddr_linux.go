package udpio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// A sockaddr is the kernel's struct sockaddr_in or sockaddr_in6
// (include/uapi/linux/in.h, in6.h), written and read byte by byte: the family
// and the scope in the machine's order, the rest in network order.
//
//	sockaddr_in    family 2 | port 2 | address 4 | zero 8
//	sockaddr_in6   family 2 | port 2 | flow 4 | address 16 | scope 4
type sockaddr [unix.SizeofSockaddrInet6]byte

// put stores an address for an AF_INET or AF_INET6 socket and returns the length.
func (sa *sockaddr) put(a netip.AddrPort, v4only bool) uint32 {
	binary.BigEndian.PutUint16(sa[2:], a.Port())
	if v4only {
		binary.NativeEndian.PutUint16(sa[0:], unix.AF_INET)
		ip := a.Addr().Unmap().As4()
		copy(sa[4:], ip[:])
		clear(sa[8:unix.SizeofSockaddrInet4])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(sa[0:], unix.AF_INET6)
	clear(sa[4:8])
	ip := a.Addr().As16() // IPv4 becomes ::ffff:a.b.c.d
	copy(sa[8:], ip[:])
	binary.NativeEndian.PutUint32(sa[24:], scopeOf(a.Addr().Zone()))
	return unix.SizeofSockaddrInet6
}

// scopeOf returns the interface number of a zone. Zones from received packets are
// numbers already; a name from a configuration costs system calls each time, so
// resolve it once.
func scopeOf(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// A sockaddrParser turns received addresses into Go's. It remembers one zone, so
// that link-local peers on one interface cost no allocation either.
type sockaddrParser struct {
	scope uint32
	zone  string
}

// parse reads the first n bytes of sa; ok is false for an unknown family or a
// short length.
func (p *sockaddrParser) parse(sa *sockaddr, n uint32) (a netip.AddrPort, ok bool) {
	port := binary.BigEndian.Uint16(sa[2:])
	switch family := binary.NativeEndian.Uint16(sa[0:]); {
	case family == unix.AF_INET && n >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), port), true
	case family == unix.AF_INET6 && n >= unix.SizeofSockaddrInet6:
		ip := netip.AddrFrom16([16]byte(sa[8:24])).Unmap()
		if scope := binary.NativeEndian.Uint32(sa[24:]); scope != 0 && ip.Is6() {
			if scope != p.scope {
				p.scope, p.zone = scope, strconv.FormatUint(uint64(scope), 10)
			}
			ip = ip.WithZone(p.zone)
		}
		return netip.AddrPortFrom(ip, port), true
	}
	return netip.AddrPort{}, false
}
