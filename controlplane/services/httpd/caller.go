package httpd

import (
	"net"
	"net/netip"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/valyala/fasthttp"
)

// A Caller is who made a request: a key where it came over dmsg, which proved it,
// else an address.
type Caller struct {
	PK   cipher.PubKey // zero over TCP
	Addr netip.Addr    // zero over dmsg
}

// Over says what a server's connections are.
type Over uint8

// The kinds of connections.
const (
	OverTCP  Over = iota // peers are addresses
	OverDmsg             // peers are "<pk>:<port>", proven
)

// CallerOf returns who made the request.
func CallerOf(rc *fasthttp.RequestCtx, over Over) Caller { return callerAt(rc.RemoteAddr(), over) }

// callerAt returns who is at the other end of a connection.
func callerAt(a net.Addr, over Over) Caller {
	if over == OverDmsg {
		host, _, err := net.SplitHostPort(a.String())
		if err != nil {
			return Caller{}
		}
		pk, err := cipher.ParsePubKeyText(host)
		if err != nil {
			return Caller{}
		}
		return Caller{PK: pk}
	}
	return Caller{Addr: addrOf(a)}
}

// addrOf returns the IP address of a, or the zero Addr.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Source returns what limits go by: a key, an IPv4 address or an IPv6 /64, for
// anyone with IPv6 has 2^64 addresses.
func (c Caller) Source() Source {
	if !c.PK.IsZero() {
		return Source(c.PK)
	}
	return SourceOf(c.Addr)
}

// A Source is a key, or an address in its first bytes.
type Source [cipher.PubKeyLen]byte

// SourceOf returns the source of an address.
func SourceOf(a netip.Addr) (s Source) {
	if a.Is4() {
		b := a.As4()
		s[0] = 4 // no public key begins so
		copy(s[1:], b[:])
		return s
	}
	b := a.As16()
	s[0] = 6
	copy(s[1:], b[:8])
	return s
}
