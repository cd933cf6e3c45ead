package ice

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/stun"
)

// A reply is a response to a query, owned by who gets it.
type reply struct {
	b    []byte
	from netip.AddrPort
}

// firstRetry is when a query is repeated; then again after twice the time, up to
// lastRetry. RFC 8489 section 6.2.1 begins with 500 ms, for who knows nothing about the
// path; but a visor's start waits for this, and a datagram more harms nobody.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 800 * time.Millisecond
)

// Query asks a STUN server from which address the socket's datagrams come. It repeats
// the question until ctx ends.
func (h *Hub) Query(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	req := bindingRequest()
	answers := make(chan reply, 1)
	defer h.ask(txID(req[8:headerLen]), answers)()
	pause := firstRetry
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		if err := h.sock.WriteSTUN(req, server); err != nil {
			return netip.AddrPort{}, fmt.Errorf("ice: ask STUN server %s: %w", server, err)
		}
	wait:
		for {
			select {
			case r := <-answers:
				if r.from != server {
					continue // not the one that was asked
				}
				a, err := mappedAddr(r.b)
				if err != nil {
					return netip.AddrPort{}, fmt.Errorf("ice: answer of STUN server %s: %w", server, err)
				}
				return a, nil
			case <-timer.C:
				pause = min(2*pause, lastRetry)
				timer.Reset(pause)
				break wait
			case <-ctx.Done():
				return netip.AddrPort{}, fmt.Errorf("ice: STUN server %s does not answer: %w", server, context.Cause(ctx))
			}
		}
	}
}

// bindingRequest is a STUN request without attributes.
func bindingRequest() []byte {
	b := make([]byte, headerLen)
	binary.BigEndian.PutUint16(b, 0x0001) // Binding request
	binary.BigEndian.PutUint32(b[4:], magicCookie)
	_, _ = rand.Read(b[8:]) // never fails
	return b
}

// mappedAddr reads the answer to a binding request. b is shared with nobody.
func mappedAddr(b []byte) (netip.AddrPort, error) {
	m := &stun.Message{Raw: b}
	if err := m.Decode(); err != nil {
		return netip.AddrPort{}, err
	}
	if m.Type != stun.BindingSuccess {
		return netip.AddrPort{}, fmt.Errorf("%s", m.Type)
	}
	var x stun.XORMappedAddress
	if err := x.GetFrom(m); err != nil {
		return netip.AddrPort{}, err
	}
	ip, ok := netip.AddrFromSlice(x.IP)
	a := netip.AddrPortFrom(ip.Unmap(), uint16(x.Port))
	if !ok || a.Port() == 0 || !usable(a.Addr(), true) {
		return netip.AddrPort{}, fmt.Errorf("%v is nobody's address", x)
	}
	return a, nil
}
