package netstack

import (
	"context"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// MaxDatagram is the largest datagram in bytes, ports not counted.
const MaxDatagram = 65507 - udpHeaderLen

// A Network finds peers: the methods of *session.Manager, with its sessions as peers.
type Network interface {
	// DialClass waits until packets can be carried to pk over the routes of a class, 0
	// for the ordinary ones. Its errors say why they cannot; [Stack.Dial] wraps them.
	DialClass(ctx context.Context, pk cipher.PubKey, class uint32) (Peer, error)
	// Lookup returns the peer with an overlay address (cipher.PubKey.ClassAddr).
	// It is called once per super-segment and must be cheap.
	Lookup(overlay [16]byte) (Peer, bool)
}

// A Peer is the way to one other visor over the routes of one class. Its methods are called by many goroutines
// at once and must not block for long: a TCP endpoint is locked meanwhile.
type Peer interface {
	// PubKey returns the key that the session has proved.
	PubKey() cipher.PubKey
	// Class returns the class of its routes.
	Class() uint32
	// SendTCP sends one TCP segment of up to 64 KiB. hdr is its header of 20 to 60
	// bytes with checksum 0, payload its data in pieces; all are borrowed until
	// return. The session cuts it to the route's MTU.
	SendTCP(hdr []byte, payload [][]byte) error
	// SendPacket sends hdr and payload, both borrowed until return, as one packet,
	// in fragments if it has to. proto is one of package packet's.
	SendPacket(proto uint8, hdr, payload []byte) error
}
