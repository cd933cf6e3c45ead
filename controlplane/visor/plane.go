package visor

import (
	"context"
	"net"
	"net/netip"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// A plane is the data plane as the visor sees it. All methods may be called
// concurrently. Their errors are *api.Error where a client can do something about
// them.
type plane interface {
	links
	routes
	overlay
	// Status fills in what the data plane knows.
	Status(s *api.Status)
	// Run moves packets until ctx ends, then closes everything. The sockets are
	// open before.
	Run(ctx context.Context) error
}

// links are the links of the data plane, by numeric address, or by key alone.
type links interface {
	Links() []api.Link
	AddLink(pk cipher.PubKey, typ string, addr netip.AddrPort) error
	RemoveLink(pk cipher.PubKey, typ string) error
	// Retarget says where the neighbour of a link that we keep is to be found now.
	Retarget(pk cipher.PubKey, typ string, addr netip.AddrPort) error
	// Expect lets pk connect to us beside the keys of policy.allow, or no longer.
	Expect(pk cipher.PubKey, yes bool)
	// AcceptStream takes a stream of dmsg for a link and owns it; its other end has
	// proved to have key from.
	AcceptStream(conn net.Conn, from cipher.PubKey)
	// Hurry has a link of this type to pk, if we keep one, try again soon.
	Hurry(pk cipher.PubKey, typ string)
}

// routes is the forwarding table, and the routes that begin here.
type routes interface {
	Routes() []api.Route
	AddRule(r api.Rule) error
	RemoveRule(in api.Hop) error
	// Live returns how the routes do that end here.
	Live() []session.RouteInfo
	// Static says whether an operator has set a route to pk that begins here.
	Static(pk cipher.PubKey) bool
}

// overlay is the network of keys and ports.
type overlay interface {
	Dial(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error)
	DialPacket(ctx context.Context, pk cipher.PubKey, port uint16) (net.Conn, error)
	// DialClass and DialPacketClass are the same over the routes of one class, 0 being
	// those of Dial.
	DialClass(ctx context.Context, pk cipher.PubKey, class uint32, port uint16) (net.Conn, error)
	DialPacketClass(ctx context.Context, pk cipher.PubKey, class uint32, port uint16) (net.Conn, error)
	Listen(port uint16) (net.Listener, error)
	ListenPacket(port uint16) (net.PacketConn, error)
	// Trouble says what is known about why pk does not answer; "" is nothing.
	Trouble(pk cipher.PubKey) string
	// KeyOf returns the key in an address of the overlay, or the zero key.
	KeyOf(addr net.Addr) cipher.PubKey
}
