package udpio

import (
	"net/netip"

	"github.com/skyminer/skywire/dataplane/packet"
)

// MaxSuperpacket is the most bytes that one superpacket has on receipt: what the
// 16-bit length of an IP packet can say.
const MaxSuperpacket = 64 << 10

// Slots is how many superpackets one batch holds. Nanoseconds per datagram for
// reading, median of 5 runs of BenchmarkReadWrite (EPYC, L2 1 MiB, Linux 6.18, loopback):
//
//	slots                       2    4    8   16   32
//	superpackets of 44x1400    45   43   45   48   48
//	the same, and seal each   672  686  680  686  685
//	lone ones of 80 bytes     599  514  470  452  422
//	the same, and seal each   798  695  651  634  623
const Slots = 8

// slotStride is the distance of two slots in bytes. It is not a power of two:
// slots 64 KiB apart would all begin in the same cache set, and small packets
// touch only the beginning.
const slotStride = MaxSuperpacket + 5*64

// A Superpacket is a run of datagrams from one source.
type Superpacket struct {
	// Data holds the datagrams, one behind the other, at least one byte.
	Data []byte

	// Seg is the size of each datagram in bytes; the last may be shorter.
	// 1 <= Seg <= len(Data), and a lone datagram has Seg == len(Data).
	Seg int

	// From is the sender; an IPv4 sender is a plain IPv4 address even on a dual
	// stack socket, and a link-local IPv6 sender has the interface number as zone.
	From netip.AddrPort
}

// Datagrams returns how many datagrams the superpacket has.
func (p *Superpacket) Datagrams() int { return (len(p.Data) + p.Seg - 1) / p.Seg }

// A Batch is the receive memory of one worker, refilled by [Conn.ReadBatch]:
// Pkts[:N] is valid.
//
// It has Slots × 64 KiB of memory (512 KiB), which stays unmapped until the
// kernel writes there: one page per slot under small packets.
//
// Ownership: the data is borrowed until the next ReadBatch into the same Batch
// and may be changed in place meanwhile. Each slice's capacity ends with its
// data, so appending copies. One goroutine at a time.
type Batch struct {
	Pkts [Slots]Superpacket
	N    int

	slab []byte // Slots slots, slotStride apart
	rx   rxScratch
}

// NewBatch returns an empty Batch. It serves any Conn, one after the other.
func NewBatch() *Batch {
	b := &Batch{slab: make([]byte, Slots*slotStride)}
	b.rx.init(b)
	return b
}

// slot returns the memory of slot i.
func (b *Batch) slot(i int) []byte {
	o := i * slotStride
	return b.slab[o : o+MaxSuperpacket : o+MaxSuperpacket]
}

// reset ends the loan of the last batch.
func (b *Batch) reset() {
	if packet.Debug {
		for i := range b.Pkts[:b.N] {
			packet.Poison(b.Pkts[i].Data)
		}
	}
	b.N = 0
}
