package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// A plane is the link engine as the Manager uses it; tests have one of their own.
type plane interface {
	// begin keeps a link of this type to pk, at addr, from now on. wait returns when it
	// is up or an attempt has failed; it is nil where there has been such a link, which now
	// tries addr.
	begin(pk cipher.PubKey, typ link.Type, addr netip.AddrPort) (wait func(context.Context) error, err error)
	drop(pk cipher.PubKey, typ link.Type)
	look() []link.Info
	expect(pk cipher.PubKey, yes bool)
	check(within time.Duration)
	udp() netip.AddrPort
	tcp() netip.AddrPort
	WriteSTUN(b []byte, to netip.AddrPort) error
}

// engine makes a plane of Links.
type engine struct{ Links }

func (e engine) begin(pk cipher.PubKey, typ link.Type, addr netip.AddrPort) (func(context.Context) error, error) {
	l, err := e.AddLink(pk, typ, addr)
	if err == nil {
		return l.WaitUp, nil
	}
	if !errors.Is(err, link.ErrExists) {
		return nil, err
	}
	if typ != link.DMSG {
		if err = e.Retarget(pk, typ, addr); err != nil {
			return nil, err
		}
	}
	e.Hurry(pk, typ)
	return nil, nil
}

func (e engine) drop(pk cipher.PubKey, typ link.Type) { _ = e.RemoveLink(pk, typ) } // it may have gone

func (e engine) look() []link.Info {
	var all []link.Info
	for _, l := range e.Links.Links() {
		all = append(all, l.Info())
	}
	return all
}

func (e engine) expect(pk cipher.PubKey, yes bool) { e.Expect(pk, yes) }
func (e engine) check(within time.Duration)        { e.Check(within) }
func (e engine) udp() netip.AddrPort               { return e.UDPAddr() }
func (e engine) tcp() netip.AddrPort               { return e.TCPAddr() }

// A carrier is a dmsg network as the Manager uses it.
type carrier interface {
	dial(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error)
	listen(port uint16) (acceptor, error)
	check(within time.Duration)
}

// An acceptor takes streams whose far end has proved its key.
type acceptor interface {
	accept() (net.Conn, cipher.PubKey, error)
	Close() error
}

// client makes a carrier of a dmsg client.
type client struct{ c *dmsg.Client }

func (c client) dial(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error) {
	st, err := c.c.Dial(ctx, proto.Addr{PK: pk, Port: port})
	switch {
	case errors.Is(err, proto.ErrNoEntry):
		return nil, errors.New("dmsg: nobody with that key is online")
	case err != nil && len(c.c.Sessions()) == 0:
		return nil, fmt.Errorf("dmsg: no relay is reached: %w", err)
	case err != nil:
		return nil, err
	}
	return st, nil
}

func (c client) listen(port uint16) (acceptor, error) {
	l, err := c.c.Listen(port)
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

func (c client) check(within time.Duration) { c.c.Check(within) }

type listener struct{ *dmsg.Listener }

func (l listener) accept() (net.Conn, cipher.PubKey, error) {
	st, err := l.AcceptStream()
	if err != nil {
		return nil, cipher.PubKey{}, err
	}
	return st, st.Peer().PK, nil
}
