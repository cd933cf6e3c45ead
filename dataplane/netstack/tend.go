package netstack

import (
	"errors"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// tendEvery is how often streams are looked after, and so how long one may stand
// still for the reason below.
const tendEvery = 200 * time.Millisecond

// errStalled ends a stream that gVisor has brought to a halt for good.
var errStalled = errors.New("skynet: stream stalled after heavy loss")

// tend gives streams their congestion window back. gVisor's CUBIC reaches a window
// of 0 where RACK detects a loss at a window of 1: the cubic starts below 1 then,
// and is rounded down. With a window of 0 nothing is sent, so nothing comes back
// and no timer runs: the stream would stand still for ever. At 2 % loss and no
// delay that happened within a megabyte.
//
// It runs only while there are streams.
func (b *budget) tend() {
	spreading := int32(0)
	b.each(func(c *Conn) {
		c.tend()
		if c.noticeSpread() {
			spreading++
		}
	})
	b.spreading.Store(spreading)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.streams) > 0 && !b.closed {
		b.tending.Reset(tendEvery)
	} else {
		b.tending = nil
	}
}

// stalled reports whether a congestion window lets nothing out. gVisor computes it in
// signed integers and reports it unsigned: heavy loss takes it to 0 and below.
func stalled(window uint32) bool { return int32(window) <= 0 }

// tend restarts a stream whose congestion window lets nothing out.
func (c *Conn) tend() {
	var info tcpip.TCPInfoOption
	if err := c.ep.GetSockOpt(&info); err != nil || info.RTO == 0 {
		return // RTO 0: not connected yet
	}
	c.notice(info.RTT)
	if !stalled(info.SndCwnd) {
		return
	}
	switch tcp.EndpointState(info.State) {
	case tcp.StateEstablished:
		cc := tcpip.CongestionControlOption("cubic")
		c.ep.SetSockOpt(&cc) // starts anew, with the initial window
	case tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		// gVisor's option does nothing in these.
		if !reopen(c.ep) {
			c.fail(errStalled)
			return
		}
	default:
		return
	}
	c.ep.SocketOptions().SetDelayOption(false) // sends what the window allows
}

// reopen gives a stream the initial congestion window, and slow start until the next
// loss. gVisor exports nothing that does so once an end has closed its half, but data
// that was written before has to arrive all the same. It returns false if the window is
// not where senderState looks for it.
func reopen(ep tcpip.Endpoint) bool {
	e, ok := ep.(*tcp.Endpoint)
	if !ok {
		return false
	}
	e.LockUser()
	defer e.UnlockUser()
	s := senderState(e)
	if s == nil {
		return false
	}
	s.SndCwnd, s.Ssthresh = tcp.InitialCwnd, tcp.InitialSsthresh
	return true
}
