package netstack

import (
	"reflect"
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A rackSwitch turns RACK off while a stream sends again what was under way when its
// retransmission timer ran out.
//
// The first acknowledgement after that tells RACK, rightly, that all of it is lost (RFC
// 8985 section 6.2), and gVisor begins a recovery. But its count of what is under way
// (SetPipe in its snd.go) takes the word of SACK alone: where a whole window is gone it
// finds far more than the new window of 5 allows, and nothing is sent until the timer runs
// out again. That made two segments each 200 ms, 15 s for 600 KB. Without RACK the timer is
// followed by a slow start (RFC 5681 section 3.1).
//
// RACK stays on otherwise: without it a stream brings a seventh of the rate where 2 % of the
// packets overtake others (5 ms and more one way), and a third at 2 % loss and no delay.
//
// gVisor's option is the whole stack's and read when a stream begins. Later a field of the
// endpoint counts, which is not exported; it is written under the lock under which gVisor
// reads it. Where a newer gVisor has no such field RACK stays on, and TestRackSwitch fails.
type rackSwitch struct {
	mode     *tcpip.TCPRecovery // the endpoint's; nil if not found
	timeouts *tcpip.StatCounter // how often its timer has run out
	was      tcpip.TCPRecovery  // the mode to go back to, while off
	off      bool               // RACK is
	seen     uint64             // timeouts so far
	begun    bool               // sent is set
	sent     seqnum.Value       // end of what has been sent
	until    seqnum.Value       // end of what had been sent when the timer last ran out
}

// attach makes r hear of what ep sends.
func (r *rackSwitch) attach(ep tcpip.Endpoint) {
	e, ok := ep.(*tcp.Endpoint)
	if !ok {
		return
	}
	f, ok := reflect.TypeFor[tcp.Endpoint]().FieldByName("tcpRecovery")
	if !ok || f.Type != reflect.TypeFor[tcpip.TCPRecovery]() {
		return
	}
	e.LockUser()
	defer e.UnlockUser()
	r.mode = (*tcpip.TCPRecovery)(unsafe.Add(unsafe.Pointer(e), f.Offset))
	r.timeouts = &e.Stats().(*tcp.Stats).SendErrors.Timeouts
	e.SetOwner(r)
}

// KUID and KGID make r what gVisor takes for the owner of packets, by which the nic finds
// it. Nobody asks for the ids.
func (*rackSwitch) KUID() uint32 { return 0 }

// KGID is like KUID.
func (*rackSwitch) KGID() uint32 { return 0 }

// leaves hears of each segment with data, size bytes, before it is sent, or lost
// for want of a peer. The endpoint is locked.
func (r *rackSwitch) leaves(hdr header.TCP, size int) {
	seq := seqnum.Value(hdr.SequenceNumber())
	if !r.begun {
		r.begun, r.sent = true, seq
	}
	if n := r.timeouts.Value(); n != r.seen {
		r.seen, r.until = n, r.sent
		if !r.off {
			r.off, r.was, *r.mode = true, *r.mode, 0
		}
	}
	if r.off && r.until.LessThanEq(seq) { // something new: all the rest is sent again
		r.off, *r.mode = false, r.was
	}
	if end := seq.Add(seqnum.Size(size)); r.sent.LessThan(end) {
		r.sent = end
	}
}
