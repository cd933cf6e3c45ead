package session

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// An epoch is the time of one set of session keys. Local and Remote are its key
// phase.
type epoch = noise.Epoch[epochState]

// epochState is what a session keeps with its keys; bound is guarded by Session.mu.
type epochState struct {
	// first is the route that the handshake ran over, which it bound. Never changed.
	first *route
	// bound says which of our routes the peer has bound a route id to under these
	// keys. An id stays with its first route for ever: if a bind could be played
	// back on another label, or an old id come back with a fresh replay window,
	// whatever was sent under it could be played back as well.
	bound map[uint32]*route
}

// maxBound bounds the route ids of one epoch: routes come and go, not that often.
const maxBound = 256

// A sendState is one number space to send in: keys, route id, counter. It is
// replaced whole, so that a rekey never pairs an old number with a new key.
type sendState struct {
	epoch   *epoch
	id      uint32
	counter noise.Counter
}

// A recvState is one number space to receive in.
type recvState struct {
	epoch  *epoch
	id     uint32        // the peer's route id
	window *noise.Window // nil until something was opened

	// linked says that a direct route's link keeps the window: the neighbour is the
	// peer itself, and an idle link should not hold a kilobyte for each key.
	linked bool
}

// sealOverhead is what sealing adds to a payload: counter and tag.
const sealOverhead = 8 + packet.TagLen

// open opens the body of a sealed packet in place. why counts where it fails.
func (rs *recvState) open(body, ad []byte, nonce *noise.Nonce) (payload []byte, why DropReason, ok bool) {
	if len(body) <= sealOverhead {
		return nil, DropForged, false
	}
	counter := binary.BigEndian.Uint64(body)
	if rs.window != nil && !rs.window.Check(counter) {
		return nil, DropReplayed, false
	}
	payload, err := rs.epoch.Recv.Open(body[8:8], body[8:], ad, nonce, rs.id, counter)
	if err != nil {
		return nil, DropForged, false
	}
	if rs.linked {
		return payload, 0, true
	}
	if rs.window == nil {
		rs.window = new(noise.Window) // an idle route goes without
	}
	if !rs.window.Accept(counter) {
		return nil, DropReplayed, false // at or above the last number there is
	}
	return payload, 0, true
}

// An encoder writes the packets of one call into a Tx. It lives on the sender's
// stack; seal is nil on a direct route.
type encoder struct {
	tx      *link.Tx
	label   packet.Label
	seal    *sendState
	counter uint64 // of the next packet; reserved by the caller
	nonce   *noise.Nonce

	pkt []byte // the packet being written
	n   int    // bytes of its payload
}

// overhead returns what the encoder adds to a payload before padding.
func (e *encoder) overhead() int {
	if e.seal != nil {
		return sealOverhead
	}
	return 0
}

// room returns the largest payload that fits a route packet of mtu bytes.
func (e *encoder) room(mtu int) int { return mtu - packet.RouteHeaderLen - e.overhead() }

// reserve takes n packet numbers.
func (e *encoder) reserve(n int) (err error) {
	if e.seal != nil {
		e.counter, err = e.seal.counter.Reserve(n)
	}
	return err
}

// begin returns the memory for a payload of n bytes, to be filled before end.
func (e *encoder) begin(n int) []byte {
	e.n = n
	e.pkt = e.tx.Packet(packet.Padded(n + e.overhead()))
	at := packet.RouteHeaderLen
	if e.seal != nil {
		at += 8
	}
	return e.pkt[at : at+n : at+n]
}

// end writes the header and padding, and seals.
func (e *encoder) end(kind packet.Kind) {
	length := e.n + e.overhead()
	h := packet.RouteHeader{Label: e.label, Kind: kind, Length: uint16(length)}
	if e.seal == nil {
		h.Put(e.pkt)
	} else {
		h.Flags = uint8(e.seal.epoch.Remote)
		h.Put(e.pkt)
		binary.BigEndian.PutUint64(e.pkt[8:], e.counter)
		plain := e.pkt[16 : 16+e.n]
		e.seal.epoch.Send.Seal(plain[:0], plain, e.pkt[4:8], e.nonce, e.seal.id, e.counter)
		e.counter++
	}
	clear(e.pkt[packet.RouteHeaderLen+length:])
}

// phases is the set of key phases in use here, one bit each. The ring's drop
// callback clears them.
type phases struct{ bits atomic.Uint32 }

func (p *phases) add(phase uint32)    { p.bits.Or(1 << phase) }
func (p *phases) remove(phase uint32) { p.bits.And(^uint32(1 << phase)) }
func (p *phases) set() uint8          { return uint8(p.bits.Load()) }

// freePhase returns a phase that is not in the set, or false.
func freePhase(inUse uint8) (uint32, bool) {
	for p := range uint32(packet.PhaseMask + 1) {
		if inUse&(1<<p) == 0 {
			return p, true
		}
	}
	return 0, false
}

func ns(t int64) time.Duration { return time.Duration(t) }
