package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// maxFlows is how many flows of one burst can grow at the same time.
	maxFlows = 8
	// maxMerged bounds a merged packet, IPv6 header included: gVisor pools chunks
	// of up to 64 KiB, and IPv6 counts its payload in 16 bits.
	maxMerged = 65535

	tcpMinLen    = header.TCPMinimumSize
	ipv6Len      = header.IPv6MinimumSize
	udpHeaderLen = 4

	tcpOffsetSeq   = header.TCPSeqNumOffset
	tcpOffsetAck   = header.TCPAckNumOffset
	tcpOffsetData  = header.TCPDataOffset
	tcpOffsetFlags = header.TCPFlagsOffset

	flagFIN = uint8(header.TCPFlagFin)
	flagPSH = uint8(header.TCPFlagPsh)
	flagACK = uint8(header.TCPFlagAck)

	// flagWord masks data offset, flags and window (bytes 12 to 15 of the header)
	// down to what must be equal in two segments that are merged.
	flagWord = ^(uint32(flagFIN|flagPSH) << 16)
)

// A coalescer merges the TCP segments of one burst that follow each other into
// packets of up to 64 KiB, so that gVisor locks, wakes and acknowledges once for
// dozens of segments, and copies each into gVisor's memory once.
//
// It merges what Linux does (tcp_gro_receive, net/ipv4/tcp_offload.c): segments
// with data of the same flow, in order, with the same acknowledgement, window,
// flags and options, all as long as the first but for a shorter last one; PSH or
// FIN ends a packet and stays in it. Anything else goes up as it came, after what
// arrived before it in its flow.
//
// It belongs to one goroutine at a time and keeps nothing between bursts.
type coalescer struct {
	flows [maxFlows]flow
	n     int     // flows[:n] are in use, in the order of their first segment
	next  []int32 // next[i] is the segment after i in its flow, 0 if it is the last
	src   [16]byte
	dst   [16]byte
	up    upper
}

// An upper is the part of stack.NetworkDispatcher that a coalescer delivers to.
type upper interface {
	DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)
}

// A flow is a run of segments that will be one packet.
type flow struct {
	hdr   []byte // header of the first segment, borrowed
	first int32  // index of the first segment in the burst
	last  int32
	size  int    // bytes of data so far
	unit  int    // bytes of data in the first segment
	seq   uint32 // sequence number that continues the run
	flags uint8  // PSH and FIN of the last segment
	open  bool   // more may follow
}

// burst delivers payloads, each a TCP header with its data, and returns how many
// were malformed. The slices are borrowed until it returns.
func (c *coalescer) burst(payloads [][]byte) (malformed int) {
	if cap(c.next) < len(payloads) {
		c.next = make([]int32, len(payloads))
	}
	c.next = c.next[:len(payloads)]
	for i, p := range payloads {
		hdrLen, ok := tcpHeaderLen(p)
		if !ok {
			malformed++
			continue
		}
		c.add(payloads, int32(i), p[:hdrLen:hdrLen], len(p)-hdrLen)
	}
	for i := range c.flows[:c.n] {
		c.flush(payloads, &c.flows[i])
	}
	c.n = 0
	return malformed
}

// tcpHeaderLen returns the length of the header of segment p, if p is long enough
// for it and short enough to get an IPv6 header.
func tcpHeaderLen(p []byte) (int, bool) {
	if len(p) < tcpMinLen || len(p) > maxMerged-ipv6Len {
		return 0, false
	}
	n := int(p[tcpOffsetData]>>4) * 4
	return n, n >= tcpMinLen && n <= len(p)
}

// add takes segment i, with header hdr and size bytes of data.
func (c *coalescer) add(payloads [][]byte, i int32, hdr []byte, size int) {
	slot := c.find(hdr)
	if slot >= 0 {
		f := &c.flows[slot]
		if f.takes(hdr, size) {
			c.next[f.last], c.next[i] = i, 0
			f.last = i
			f.extend(hdr, size)
			return
		}
		c.flush(payloads, f)
	} else {
		if c.n == maxFlows {
			c.flush(payloads, &c.flows[0])
			copy(c.flows[:], c.flows[1:])
			c.n--
		}
		slot = c.n
		c.n++
	}
	c.next[i] = 0
	f := &c.flows[slot]
	*f = flow{hdr: hdr, first: i, last: i, unit: size, seq: binary.BigEndian.Uint32(hdr[tcpOffsetSeq:])}
	f.extend(hdr, size)
}

// find returns the slot of the flow with hdr's ports, or -1. All segments of a
// burst come from one peer to one visor, so the ports are all of the 4-tuple.
func (c *coalescer) find(hdr []byte) int {
	ports := binary.BigEndian.Uint32(hdr)
	for i := range c.flows[:c.n] {
		if binary.BigEndian.Uint32(c.flows[i].hdr) == ports {
			return i
		}
	}
	return -1
}

// takes reports whether the segment continues the run.
func (f *flow) takes(hdr []byte, size int) bool {
	const words = tcpOffsetData
	return f.open && size > 0 && size <= f.unit && len(hdr) == len(f.hdr) &&
		ipv6Len+len(hdr)+f.size+size <= maxMerged &&
		binary.BigEndian.Uint32(hdr[tcpOffsetSeq:]) == f.seq &&
		binary.BigEndian.Uint32(hdr[tcpOffsetAck:]) == binary.BigEndian.Uint32(f.hdr[tcpOffsetAck:]) &&
		(binary.BigEndian.Uint32(hdr[words:])^binary.BigEndian.Uint32(f.hdr[words:]))&flagWord == 0 &&
		string(hdr[tcpMinLen:]) == string(f.hdr[tcpMinLen:])
}

// extend counts a segment in and decides whether the run may go on: only behind
// full-sized data whose flags are ACK alone.
func (f *flow) extend(hdr []byte, size int) {
	f.size += size
	f.seq += uint32(size)
	f.flags = hdr[tcpOffsetFlags] & (flagPSH | flagFIN)
	f.open = size > 0 && size == f.unit && hdr[tcpOffsetFlags] == flagACK
}

// flush builds the packet of a run and hands it up. The one copy of the data on
// its way in is made here, straight into one pooled chunk.
func (c *coalescer) flush(payloads [][]byte, f *flow) {
	hdrLen := len(f.hdr)
	view := buffer.NewViewSize(ipv6Len + hdrLen + f.size)
	b := view.AsSlice()

	ip := b[:ipv6Len]
	ip[0] = 6 << 4
	binary.BigEndian.PutUint16(ip[4:], uint16(hdrLen+f.size))
	ip[6] = uint8(header.TCPProtocolNumber)
	ip[7] = 64 // hop limit: it never leaves this process
	copy(ip[8:24], c.src[:])
	copy(ip[24:40], c.dst[:])

	tcp := b[ipv6Len:]
	copy(tcp, f.hdr)
	tcp[tcpOffsetFlags] |= f.flags
	data := tcp[hdrLen:]
	for i := f.first; ; i = c.next[i] {
		data = data[copy(data, payloads[i][hdrLen:]):]
		if c.next[i] == 0 {
			break
		}
	}
	f.hdr = nil

	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	pkt.RXChecksumValidated = true
	c.up.DeliverNetworkPacket(header.IPv6ProtocolNumber, pkt)
	pkt.DecRef()
}
