package link

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between one visor and another on loopback and sees, and may do
// anything to, each datagram:
//
//	client --- front [ proxy ] back --- server
//
// The server sees the client at the address of back, which can change.
type proxy struct {
	t      testing.TB
	front  *net.UDPConn
	server netip.AddrPort
	back   atomic.Pointer[net.UDPConn]
	client atomic.Pointer[netip.AddrPort]
	wg     sync.WaitGroup

	// mangle returns what is passed on in the place of pkt, which it may keep and
	// change. It runs on one goroutine for each direction and socket.
	mangle atomic.Pointer[func(toServer bool, pkt []byte) [][]byte]
}

func newProxy(t testing.TB, server netip.AddrPort) *proxy {
	t.Helper()
	p := &proxy{t: t, server: server}
	p.setMangle(pass)
	p.front = p.listen()
	p.rebind()
	p.wg.Go(func() { p.pump(p.front, true) })
	t.Cleanup(p.close)
	return p
}

func pass(_ bool, pkt []byte) [][]byte { return [][]byte{pkt} }

func (p *proxy) setMangle(f func(toServer bool, pkt []byte) [][]byte) { p.mangle.Store(&f) }

// addr is where the client connects to.
func (p *proxy) addr() netip.AddrPort { return p.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// outside is where the server sees the client.
func (p *proxy) outside() netip.AddrPort {
	return p.back.Load().LocalAddr().(*net.UDPAddr).AddrPort()
}

// rebind gives the client another outside address and returns the socket that had
// the last one: still open and read from, as a NAT that has both mappings.
func (p *proxy) rebind() *net.UDPConn {
	c := p.listen()
	p.wg.Go(func() { p.pump(c, false) })
	return p.back.Swap(c)
}

func (p *proxy) listen() *net.UDPConn {
	ip := net.IP(p.server.Addr().AsSlice())
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		p.t.Fatal(err)
	}
	_ = c.SetReadBuffer(4 << 20)
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *proxy) pump(from *net.UDPConn, toServer bool) {
	buf := make([]byte, 1<<16)
	for {
		n, addr, err := from.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error
		}
		out, to := p.back.Load(), p.server
		if toServer {
			p.client.Store(&addr)
		} else {
			client := p.client.Load()
			if client == nil {
				continue
			}
			out, to = p.front, *client
		}
		for _, b := range (*p.mangle.Load())(toServer, append([]byte(nil), buf[:n]...)) {
			_, _ = out.WriteToUDPAddrPort(b, to) // lost, as on any network
		}
	}
}

func (p *proxy) close() {
	_ = p.front.Close()
	_ = p.back.Load().Close()
	// Sockets that rebind replaced are closed by their own cleanups, which run later.
}
