package link

import "github.com/skyminer/skywire/dataplane/packet"

// MaxBurst is the most route packets in a Burst: twice what GRO puts into one
// buffer today (UDP_GRO_CNT_MAX, Linux net/ipv4/udp_offload.c).
const MaxBurst = 128

// A Burst is a run of opened route packets from one link, in the order in which
// they arrived. Pkt[:N] is valid.
//
// Each packet has been authenticated as coming from the neighbour and is at least
// packet.RouteAlign bytes long; nothing else has been checked. Its label is not 0.
//
// Ownership: the packets are borrowed until HandleBurst returns and may be changed
// in place until then.
type Burst struct {
	From *Link
	Now  int64 // the engine's clock, read once per batch, in ns
	Pkt  [MaxBurst][]byte
	N    int

	// Tx is the scratch of the worker that runs the burst: send with it whatever
	// is sent from inside HandleBurst.
	Tx *Tx

	// A burst from UDP lies in one receive buffer of frames, seg bytes apart.
	// frame[i] is the number of the frame that Pkt[i] came in. buf is nil for
	// bursts from a stream, whose packets have no room around them.
	buf   []byte
	seg   int
	frame [MaxBurst]uint16
}

// reset begins a burst over a receive buffer.
func (b *Burst) reset(buf []byte, seg int) {
	b.From, b.N, b.buf, b.seg = nil, 0, buf, seg
}

// run returns the end of the longest run of frames in b.Pkt[i:j] that are
// neighbours in the receive buffer, so that i..end can leave as they lie.
func (b *Burst) run(i, j int) (end int) {
	for end = i + 1; end < j && b.frame[end] == b.frame[end-1]+1; end++ {
	}
	return end
}

// frames returns the memory of the frames i..j-1, which are a run.
func (b *Burst) frames(i, j int) []byte {
	lo := int(b.frame[i]) * b.seg
	hi := min(int(b.frame[j-1])*b.seg+b.seg, len(b.buf))
	return b.buf[lo:hi:hi]
}

// A Handler takes what links bring; the forwarding engine implements it.
type Handler interface {
	// Attach hears of a new Link, which is not up yet, and returns the direct
	// label under which this visor takes packets from it. Never called on a
	// packet worker, and for one link at a time; it may ask the engine, but must
	// not add or remove links.
	Attach(l *Link) packet.Label

	// Detach hears that l is gone for good; its direct label is free again.
	Detach(l *Link)

	// LinkUp and LinkDown follow the state of a link, in order and one at a time
	// for all links, never on a packet worker. They must return: Run waits for them.
	LinkUp(l *Link)
	LinkDown(l *Link, err error)

	// HandleBurst takes the packets of one burst. Workers call it concurrently, for
	// one link one at a time; only while a new connection takes the place of a stream
	// link's old one may both bring a burst.
	HandleBurst(b *Burst)

	// RouteError hears a neighbour's route error about a packet that left under
	// label on l. It may run on a packet worker: it must not block.
	RouteError(l *Link, code uint8, mtu int, label packet.Label)
}
