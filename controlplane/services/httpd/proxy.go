package httpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The PROXY protocol, versions 1 and 2, is described in HAProxy's
// doc/proxy-protocol.txt; section numbers are of that text.
const (
	proxySig2 = "\r\n\r\n\x00\r\nQUIT\n" // section 2.2
	maxProxy1 = 107                      // section 2.1, with CRLF
	maxProxy2 = 16 + 2048                // header and addresses, with room for TLVs
	// proxyTimeout is how long a proxy has for its header.
	proxyTimeout = 5 * time.Second
)

// errProxy says that a trusted proxy sent no good header.
var errProxy = errors.New("httpd: no valid PROXY header")

// A proxied connection comes from a proxy: its first read takes the header off. So
// a slow proxy does not hold up Accept.
type proxied struct {
	net.Conn
	once sync.Once
	err  error
	rest []byte   // read beyond the header
	from net.Addr // of the real peer; the proxy's where the header names none
}

func newProxied(c net.Conn) *proxied { return &proxied{Conn: c, from: c.RemoteAddr()} }

// Read implements net.Conn.
func (c *proxied) Read(b []byte) (int, error) {
	c.once.Do(c.header)
	if c.err != nil {
		return 0, c.err
	}
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// RemoteAddr returns the real peer's address once something was read.
func (c *proxied) RemoteAddr() net.Addr { return c.from }

func (c *proxied) header() {
	_ = c.SetReadDeadline(time.Now().Add(proxyTimeout))
	from, rest, err := readProxy(c.Conn)
	// The server sets its own deadline before each request, thus had set it before
	// this read; it is 5 s as well, so without one the request has a little longer.
	_ = c.SetReadDeadline(time.Now().Add(readTimeout))
	if err != nil {
		c.err = err
		return
	}
	c.rest = rest
	if from.IsValid() {
		c.from = net.TCPAddrFromAddrPort(from)
	}
}

// readProxy reads a PROXY header of either version from r. The address is not
// valid where the header names none (UNKNOWN, LOCAL). rest is what was read beyond
// the header.
func readProxy(r io.Reader) (from netip.AddrPort, rest []byte, err error) {
	b := make([]byte, 0, 256)
	for {
		from, n, err := parseProxy(b)
		if err != nil {
			return netip.AddrPort{}, nil, err
		}
		if n > 0 {
			return from, b[n:], nil
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		m, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+m]
		if m == 0 && err != nil {
			return netip.AddrPort{}, nil, fmt.Errorf("%w: %w", errProxy, err)
		}
	}
}

// parseProxy parses the header at the start of b; its length n is 0 while b does
// not hold all of it. It never asks for more than maxProxy2 bytes.
func parseProxy(b []byte) (from netip.AddrPort, n int, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(proxySig2)):
		return parseProxy2(b)
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return parseProxy1(b)
	case strings.HasPrefix(proxySig2, string(b)) || strings.HasPrefix("PROXY ", string(b)):
		return from, 0, nil
	}
	return from, 0, errProxy
}

// parseProxy1 parses the text form: PROXY TCP4 source destination port port CRLF.
func parseProxy1(b []byte) (from netip.AddrPort, n int, err error) {
	end := bytes.Index(b[:min(len(b), maxProxy1)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= maxProxy1 {
			return from, 0, errProxy
		}
		return from, 0, nil
	}
	words := strings.Split(string(b[:end]), " ")
	if words[1] == "UNKNOWN" {
		return from, end + 2, nil
	}
	if len(words) != 6 {
		return from, 0, errProxy
	}
	ip, err := netip.ParseAddr(words[2])
	if err != nil || ip.Zone() != "" || words[1] != "TCP4" && words[1] != "TCP6" || ip.Is4() != (words[1] == "TCP4") {
		return from, 0, errProxy
	}
	port, err := strconv.ParseUint(words[4], 10, 16)
	if err != nil {
		return from, 0, errProxy
	}
	return netip.AddrPortFrom(ip, uint16(port)), end + 2, nil
}

// parseProxy2 parses the binary form (section 2.2): signature, version and command,
// family and protocol, u16 length, addresses and TLVs, which are skipped.
func parseProxy2(b []byte) (from netip.AddrPort, n int, err error) {
	if len(b) < 16 {
		return from, 0, nil
	}
	n = 16 + int(binary.BigEndian.Uint16(b[14:]))
	if b[12]>>4 != 2 || b[12]&0xf > 1 || n > maxProxy2 {
		return from, 0, errProxy
	}
	if len(b) < n {
		return from, 0, nil
	}
	body := b[16:n]
	switch local := b[12]&0xf == 0; {
	case local || b[13] == 0: // LOCAL, or AF_UNSPEC: the proxy speaks for itself
		return from, n, nil
	case b[13] == 0x11 && len(body) >= 12: // TCP over IPv4
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])), n, nil
	case b[13] == 0x21 && len(body) >= 36: // TCP over IPv6
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)), binary.BigEndian.Uint16(body[32:])), n, nil
	}
	return from, 0, errProxy
}
