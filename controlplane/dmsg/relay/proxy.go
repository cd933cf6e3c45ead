package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// errProxyHeader says that a connection of a load balancer does not begin with a
// PROXY header.
var errProxyHeader = errors.New("relay: malformed PROXY header")

// The PROXY protocol, versions 1 and 2 (haproxy, doc/proxy-protocol.txt, sections
// 2.1 and 2.2).
const (
	proxyPrefix = 12  // bytes that tell the versions apart; no header is shorter
	proxyV1Max  = 107 // bytes of the longest line, with its end
	proxyV2Max  = 1024
	proxyV2Head = 4 // bytes behind the signature
)

const proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"

// readProxyHeader reads a PROXY header, and not a byte more, and returns the place
// of the client. The zero place means that the load balancer speaks for itself.
func readProxyHeader(conn net.Conn, timeout time.Duration) (place, error) {
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return place{}, err
	}
	ip, err := parseProxyHeader(conn)
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil || !ip.IsValid() {
		return place{}, err
	}
	return placeOfIP(ip), nil
}

// parseProxyHeader returns the client's address, or the zero one where the header
// names none.
func parseProxyHeader(r io.Reader) (netip.Addr, error) {
	var prefix [proxyPrefix]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return netip.Addr{}, err
	}
	if string(prefix[:]) == proxyV2Signature {
		return parseProxyV2(r)
	}
	if strings.HasPrefix(string(prefix[:]), "PROXY ") {
		return parseProxyV1(r, prefix[:])
	}
	return netip.Addr{}, errProxyHeader
}

// parseProxyV1 reads the rest of a line like "PROXY TCP4 192.0.2.1 198.51.100.1
// 56324 443", of which line is the start.
func parseProxyV1(r io.Reader, line []byte) (netip.Addr, error) {
	var b [1]byte
	for !strings.HasSuffix(string(line), "\r\n") {
		if len(line) == proxyV1Max {
			return netip.Addr{}, errProxyHeader
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return netip.Addr{}, err
		}
		line = append(line, b[0])
	}
	words := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
	if words[1] == "UNKNOWN" {
		return netip.Addr{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.Addr{}, errProxyHeader
	}
	ip, err := netip.ParseAddr(words[2])
	if err != nil || ip.Is4() != (words[1] == "TCP4") {
		return netip.Addr{}, errProxyHeader
	}
	return ip, nil
}

// parseProxyV2 reads what is behind the signature: version and command, family,
// length, addresses, and extensions, which are skipped.
func parseProxyV2(r io.Reader) (netip.Addr, error) {
	var head [proxyV2Head]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.Addr{}, err
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if head[0]>>4 != 2 || n > proxyV2Max {
		return netip.Addr{}, errProxyHeader
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.Addr{}, err
	}
	const local, proxied, tcp4, tcp6 = 0, 1, 0x11, 0x21
	switch command, family := head[0]&15, head[1]; {
	case command == local:
		return netip.Addr{}, nil
	case command != proxied:
		return netip.Addr{}, fmt.Errorf("%w: command %d", errProxyHeader, command)
	case family == tcp4 && n >= 12:
		return netip.AddrFrom4([4]byte(body)), nil
	case family == tcp6 && n >= 36:
		return netip.AddrFrom16([16]byte(body)).Unmap(), nil
	case family == tcp4 || family == tcp6:
		return netip.Addr{}, errProxyHeader
	}
	return netip.Addr{}, nil // no internet address: the proxy's own counts
}
