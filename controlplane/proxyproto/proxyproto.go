// Package proxyproto reads the PROXY protocol's header, with which a load balancer
// says whose connection it passes on. Who may say so is for the caller to know.
//
// Versions 1 and 2 are described in HAProxy's doc/proxy-protocol.txt; section numbers
// are of that text.
package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

const (
	signature2 = "\r\n\r\n\x00\r\nQUIT\n" // section 2.2
	signature1 = "PROXY "                 // section 2.1
	// shortest is how many bytes tell the versions apart; no header is shorter.
	shortest = len(signature2)
	max1     = 107  // bytes of the longest line, with its end
	max2     = 2048 // bytes of addresses and extensions: room for certificates' names
)

// ErrHeader says that there is no valid PROXY header.
var ErrHeader = errors.New("proxyproto: no valid PROXY header")

// Read reads a header from r, and not a byte more, and returns the address and port of
// the client. They are not valid where the header names none: then the load balancer
// speaks for itself, as for its health checks, or for what has no internet address. An
// IPv4 address is never in its IPv6 form.
//
// It takes at most 2 KiB of memory. Version 1 is read byte by byte, for nothing but
// its end says how long it is. Every error is ErrHeader, with that of r, if it was that.
func Read(r io.Reader) (netip.AddrPort, error) {
	var first [shortest]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	switch {
	case string(first[:]) == signature2:
		return read2(r)
	case strings.HasPrefix(string(first[:]), signature1):
		return read1(r, first[:])
	}
	return netip.AddrPort{}, ErrHeader
}

// read1 reads the rest of a line like "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443",
// of which line is the start.
func read1(r io.Reader, line []byte) (none netip.AddrPort, err error) {
	var b [1]byte
	for !strings.HasSuffix(string(line), "\r\n") {
		if len(line) == max1 {
			return none, ErrHeader
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return none, fmt.Errorf("%w: %w", ErrHeader, err)
		}
		line = append(line, b[0])
	}
	words := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
	if words[1] == "UNKNOWN" {
		return none, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return none, ErrHeader
	}
	ip, err := netip.ParseAddr(words[2])
	if err != nil || ip.Zone() != "" || ip.Is4() != (words[1] == "TCP4") {
		return none, ErrHeader
	}
	port, err := strconv.ParseUint(words[4], 10, 16)
	if err != nil {
		return none, ErrHeader
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
}

// read2 reads what is behind the signature: version and command, family and protocol,
// u16 length, addresses, and extensions, which are skipped.
func read2(r io.Reader) (none netip.AddrPort, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return none, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	const local, proxied = 0x20, 0x21 // version 2 and the command
	if head[0] != local && head[0] != proxied || n > max2 {
		return none, ErrHeader
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return none, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	const unspecified, tcp4, tcp6, unixStream, unixDatagram = 0x00, 0x11, 0x21, 0x31, 0x32
	switch family := head[1]; {
	case head[0] == local, family == unspecified, family == unixStream, family == unixDatagram:
		return none, nil
	case family == tcp4 && n >= 12:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])), nil
	case family == tcp6 && n >= 36:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:])), nil
	}
	return none, ErrHeader
}
