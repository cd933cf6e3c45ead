package stunserver

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A socket is one UDP port of one address family. A host may have several addresses:
// read says at which a datagram arrived, and write sends from there, for a NAT passes
// nothing else.
type socket struct {
	pc    net.PacketConn
	v4    *ipv4.PacketConn // nil: v6
	v6    *ipv6.PacketConn
	local netip.AddrPort
}

// openSocket opens a port; network is udp4 or udp6.
func openSocket(network, addr string) (*socket, error) {
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		return nil, fmt.Errorf("stunserver: %w", err)
	}
	s := &socket{pc: pc, local: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.local = netip.AddrPortFrom(s.local.Addr().Unmap(), s.local.Port())
	// Where the system cannot tell, replies leave as its routes say.
	if network == "udp4" {
		s.v4 = ipv4.NewPacketConn(pc)
		_ = s.v4.SetControlMessage(ipv4.FlagDst, true)
	} else {
		s.v6 = ipv6.NewPacketConn(pc)
		_ = s.v6.SetControlMessage(ipv6.FlagDst, true)
	}
	return s, nil
}

// read reads a datagram into b and says who sent it and to which of our addresses.
func (s *socket) read(b []byte) (n int, from, at netip.AddrPort, err error) {
	var src net.Addr
	var dst net.IP
	if s.v4 != nil {
		var cm *ipv4.ControlMessage
		if n, cm, src, err = s.v4.ReadFrom(b); cm != nil {
			dst = cm.Dst
		}
	} else {
		var cm *ipv6.ControlMessage
		if n, cm, src, err = s.v6.ReadFrom(b); cm != nil {
			dst = cm.Dst
		}
	}
	if err != nil {
		return 0, from, at, err
	}
	if u, ok := src.(*net.UDPAddr); ok {
		from = u.AddrPort()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	}
	at = s.local
	if a, ok := netip.AddrFromSlice(dst); ok {
		at = netip.AddrPortFrom(a.Unmap(), s.local.Port())
	}
	return n, from, at, nil
}

// write sends b to an address, from ours.
func (s *socket) write(b []byte, to netip.AddrPort, from netip.Addr) error {
	dst := net.UDPAddrFromAddrPort(to)
	var err error
	if s.v4 != nil {
		var cm *ipv4.ControlMessage
		if !from.IsUnspecified() {
			cm = &ipv4.ControlMessage{Src: from.AsSlice()}
		}
		_, err = s.v4.WriteTo(b, cm, dst)
	} else {
		var cm *ipv6.ControlMessage
		if !from.IsUnspecified() && !from.IsLinkLocalUnicast() {
			cm = &ipv6.ControlMessage{Src: from.AsSlice()}
		}
		_, err = s.v6.WriteTo(b, cm, dst)
	}
	return err
}
