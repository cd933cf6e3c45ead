package netstack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	nicID = 1

	// mtu makes an MSS of three packets of any usual route (inner IP MTU is at least 1280,
	// usually about 1400): it is the unit in which gVisor counts its congestion window and
	// repairs losses. Its CUBIC rounds the window down at every acknowledgement, so in
	// units of one packet small windows hardly grow: with 1 % loss and 500 ms a stream
	// brought 0.65 of what the kernel's does (docs/decisions.md). The session cuts to the
	// route's real MTU whatever stands here.
	mtu = 3*1308 + header.IPv6MinimumSize + header.TCPMinimumSize + timestampsLen
	// mss is what gVisor makes of it.
	mss = mtu - header.IPv6MinimumSize - header.TCPMinimumSize - timestampsLen
	// timestampsLen is TCP's timestamps option, padded.
	timestampsLen = 12

	// maxPiece is the data of the largest super-segment. It leaves as one GSO send: 44
	// packets (64 KiB of UDP payload hold no more of 1472 bytes) of the least data
	// that a usual route carries in one, 1343 bytes (sealed, IPv6 below, an MTU of
	// 1500, TCP timestamps). One byte more would cost a second system call for a
	// remainder of a few packets, and the receiver a second batch. A write of this
	// size becomes one segment in one chunk, which is never split or merged.
	maxPiece = 44 * 1343

	// gsoMaxSize is what gVisor derives that from: it subtracts its worst-case
	// headers and one.
	gsoMaxSize = maxPiece + header.TCPTotalHeaderMaximumSize + 1

	// maxPieces is how many slices one super-segment may have without allocating.
	maxPieces = 32
)

// A nic is gVisor's only network interface: it takes packets from the stack and
// gives them to the peer that they are for.
type nic struct {
	net   Network
	drops *drops

	scratch sync.Pool // *txScratch, one per goroutine that is sending right now

	mu         sync.Mutex
	dispatcher stack.NetworkDispatcher
}

// A txScratch holds what SendTCP borrows.
type txScratch struct {
	hdr    [header.TCPHeaderMaximumSize]byte
	pieces [maxPieces][]byte
}

var (
	_ stack.LinkEndpoint = (*nic)(nil)
	_ stack.GSOEndpoint  = (*nic)(nil)
)

func newNIC(network Network, d *drops) *nic {
	n := &nic{net: network, drops: d}
	n.scratch.New = func() any { return new(txScratch) }
	return n
}

// WritePackets implements stack.LinkWriter. Packets that nobody can take are
// counted and dropped: TCP repairs that, or PeerGone ends the stream.
func (n *nic) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	tx := n.scratch.Get().(*txScratch)
	list := pkts.AsSlice()
	var (
		peer Peer
		dst  tcpip.Address
	)
	for _, pkt := range list {
		ip := header.IPv6(pkt.NetworkHeader().Slice())
		if len(ip) != header.IPv6MinimumSize || pkt.TransportProtocolNumber != header.TCPProtocolNumber {
			n.drops.add(DropProto, 1) // neighbour discovery and the like
			continue
		}
		if r, ok := pkt.Owner.(*rackSwitch); ok && pkt.Data().Size() > 0 {
			r.leaves(header.TCP(pkt.TransportHeader().Slice()), pkt.Data().Size())
		}
		if d := ip.DestinationAddress(); peer == nil || d != dst {
			var ok bool
			if peer, ok = n.net.Lookup(d.As16()); !ok {
				peer = nil
				n.drops.add(DropNoPeer, 1)
				continue
			}
			dst = d
		}
		if err := tx.send(peer, pkt); err != nil {
			n.drops.add(DropSend, 1)
		}
	}
	clear(tx.pieces[:])
	n.scratch.Put(tx)
	return len(list), nil
}

// send gives one segment to peer without copying its data.
func (tx *txScratch) send(peer Peer, pkt *stack.PacketBuffer) error {
	// gVisor leaves the pseudo-header's sum for a card to finish. The header is
	// copied because gVisor's view of it is shared with clones of the packet.
	hdr := header.TCP(tx.hdr[:copy(tx.hdr[:], pkt.TransportHeader().Slice())])
	hdr.SetChecksum(0)

	pieces := tx.pieces[:0]
	views, reserved := pkt.AsViewList()
	skip := reserved + pkt.HeaderSize()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		pieces = append(pieces, b[skip:len(b):len(b)])
		skip = 0
	}
	return peer.SendTCP(hdr, pieces)
}

// attached returns the dispatcher, or nil before Attach and after Close.
func (n *nic) attached() stack.NetworkDispatcher {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dispatcher
}

// Attach implements stack.NetworkLinkEndpoint.
func (n *nic) Attach(d stack.NetworkDispatcher) {
	n.mu.Lock()
	n.dispatcher = d
	n.mu.Unlock()
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (n *nic) IsAttached() bool { return n.attached() != nil }

// GSOMaxSize implements stack.GSOEndpoint.
func (n *nic) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements stack.GSOEndpoint.
func (n *nic) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// Capabilities implements stack.NetworkLinkEndpoint: the AEAD does what checksums
// would.
func (n *nic) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityTXChecksumOffload
}

// The rest of stack.NetworkLinkEndpoint: there is no link layer.

func (n *nic) MTU() uint32                             { return mtu }
func (n *nic) SetMTU(uint32)                           {}
func (n *nic) MaxHeaderLength() uint16                 { return 0 }
func (n *nic) LinkAddress() tcpip.LinkAddress          { return "" }
func (n *nic) SetLinkAddress(tcpip.LinkAddress)        {}
func (n *nic) Wait()                                   {}
func (n *nic) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (n *nic) AddHeader(*stack.PacketBuffer)           {}
func (n *nic) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (n *nic) Close()                                  {}
func (n *nic) SetOnCloseAction(func())                 {}
