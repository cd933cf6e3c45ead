package udpio

import "sync/atomic"

// A DropReason says why a datagram was lost on this machine.
type DropReason uint8

// The reasons. Those before DropRecvEmpty concern sending.
const (
	DropTooBig      DropReason = iota // larger than the path MTU that the kernel knows (EMSGSIZE)
	DropUnreachable                   // no route, or a local firewall refused it
	DropNoBuffers                     // the device queue or kernel memory was full
	DropSendTimeout                   // the socket buffer stayed full for SendWait
	DropBadAddress                    // an address that this socket cannot send to
	DropSendOther                     // any other errno
	DropRecvEmpty                     // no payload
	DropRecvInvalid                   // cut short, or from an address of an unknown family
	numDropReasons
)

// NumDropReasons is the number of reasons, for tables indexed by DropReason.
const NumDropReasons = int(numDropReasons)

// String returns the name of the reason as counters and metrics spell it.
func (r DropReason) String() string {
	switch r {
	case DropTooBig:
		return "too_big"
	case DropUnreachable:
		return "unreachable"
	case DropNoBuffers:
		return "no_buffers"
	case DropSendTimeout:
		return "send_timeout"
	case DropBadAddress:
		return "bad_address"
	case DropSendOther:
		return "send_other"
	case DropRecvEmpty:
		return "recv_empty"
	case DropRecvInvalid:
		return "recv_invalid"
	default:
		return "unknown"
	}
}

// Stats are the counters of one socket, or of a group: all since Listen.
type Stats struct {
	RxDatagrams, RxBytes, RxBatches uint64 // bytes of UDP payload
	TxDatagrams, TxBytes, TxBatches uint64
	Drops                           [NumDropReasons]uint64 // datagrams, by reason

	// KernelDrops counts what the kernel threw away because the receive buffer
	// was full; a GRO superpacket counts as one. Modulo 2^32 per socket, 0 where
	// it cannot be read.
	KernelDrops uint64

	// RecvBuf and SendBuf are the socket buffers in bytes as the system gave
	// them (Linux: half of what it reports, which includes its own overhead).
	RecvBuf, SendBuf int

	GSO, GRO bool // offload in use; for a group: on all sockets
}

// add sums o into s.
func (s *Stats) add(o Stats) {
	s.RxDatagrams += o.RxDatagrams
	s.RxBytes += o.RxBytes
	s.RxBatches += o.RxBatches
	s.TxDatagrams += o.TxDatagrams
	s.TxBytes += o.TxBytes
	s.TxBatches += o.TxBatches
	for i, n := range o.Drops {
		s.Drops[i] += n
	}
	s.KernelDrops += o.KernelDrops
	s.RecvBuf += o.RecvBuf
	s.SendBuf += o.SendBuf
	s.GSO = s.GSO && o.GSO
	s.GRO = s.GRO && o.GRO
}

// cacheLine keeps counters of different goroutines apart: 64 bytes on all our
// machines, twice that because x86 prefetches lines in pairs.
const cacheLine = 128

// counters are the live counters of one socket. The reader alone writes rx;
// every Writer adds to tx, once per Flush.
type counters struct {
	_  [cacheLine]byte
	rx flow
	_  [cacheLine]byte
	tx flow
	_  [cacheLine]byte

	drops [NumDropReasons]atomic.Uint64
}

// A flow counts one direction.
type flow struct{ datagrams, bytes, batches atomic.Uint64 }

func (f *flow) add(datagrams, bytes, batches int) {
	f.datagrams.Add(uint64(datagrams))
	f.bytes.Add(uint64(bytes))
	f.batches.Add(uint64(batches))
}

func (c *counters) drop(r DropReason, datagrams int) { c.drops[r].Add(uint64(datagrams)) }

// load fills in the counters of s.
func (c *counters) load(s *Stats) {
	s.RxDatagrams, s.RxBytes, s.RxBatches = c.rx.datagrams.Load(), c.rx.bytes.Load(), c.rx.batches.Load()
	s.TxDatagrams, s.TxBytes, s.TxBatches = c.tx.datagrams.Load(), c.tx.bytes.Load(), c.tx.batches.Load()
	for i := range s.Drops {
		s.Drops[i] = c.drops[i].Load()
	}
}
