package relay

import (
	"sync"
	"sync/atomic"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// The two ends of a circuit. Clients open streams with odd ids and the relay opens
// them with even ones, so the id tells the end.
const (
	dialer   = 0
	listener = 1
)

func sideOf(id uint32) int { return int(^id & 1) }

// Stages of a circuit, in their order.
const (
	collecting uint32 = iota // the request is coming in
	checking                 // somebody looks at the request
	awaiting                 // the response is coming in
	confirming               // somebody looks at the response
	passing                  // frames pass through
	ended                    // frames are dropped
)

// maxCredit bounds the credit of a direction, in bytes: deployed senders add
// grants up in a u32 and would wrap around.
const maxCredit = 1<<31 - 1

// A circuit joins a stream of one session to a stream of another, or of the same.
// It is about 100 bytes, and all that the relay keeps of a stream in its data phase.
type circuit struct {
	ends  [2]end
	stage atomic.Uint32
	fins  atomic.Uint32 // bit 1<<side: that end has sent FIN

	mu    sync.Mutex // held to change the stage up to passing
	setup *setup     // guarded by mu; nil once the circuit passes or has ended
}

// An end is one of the two streams of a circuit. session and id are set before the
// circuit's stage lets anybody look at them.
type end struct {
	session *session
	id      uint32
	listed  bool         // is in the outbox's list of owed credit; guarded by session.out.mu
	holding bool         // is in the outbox's list of held credit; guarded likewise
	credit  atomic.Int64 // bytes that this end may still send; spent by its reader only
	owed    uint32       // credit for this end that waits for its queue; guarded by session.out.mu
	held    uint32       // credit for the other end that waits until this end's queue is shorter; guarded likewise
}

// spend takes n bytes off the end's credit and reports whether it had them.
func (e *end) spend(n uint32) bool {
	return e.credit.Add(-int64(n)) >= 0
}

// earn adds up to n bytes of credit and returns how many it added: what is above
// maxCredit is dropped, as the sender could not count it.
func (e *end) earn(n uint32) uint32 {
	have := max(0, e.credit.Load())
	n = uint32(min(int64(n), max(0, maxCredit-have)))
	e.credit.Add(int64(n))
	return n
}

// end makes ended the circuit's stage and reports whether it was another one before.
func (c *circuit) end() bool {
	before := c.stage.Swap(ended)
	if before == passing {
		c.ends[dialer].session.srv.stats.streams.Add(-1)
	}
	return before != ended
}

// kill ends the circuit if it has not ended, and resets the streams of its ends but
// for that of the end skip (-1 for none). It reports whether this call ended it;
// whoever that is unlinks the circuit when it holds no session's lock.
func (c *circuit) kill(skip int, why Reason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.killLocked(skip, why)
}

// killLocked is kill with c.mu held.
func (c *circuit) killLocked(skip int, why Reason) bool {
	if !c.end() {
		return false
	}
	c.ends[dialer].session.srv.stats.count(why)
	c.settle()
	for i := range c.ends {
		if s := c.ends[i].session; s != nil && i != skip {
			s.reset(c.ends[i].id)
		}
	}
	return true
}

// settle drops the set-up, wakes who waits for it, and frees its place. c.mu is held.
func (c *circuit) settle() {
	su := c.setup
	if su == nil {
		return
	}
	c.setup = nil
	if su.done != nil {
		close(su.done)
	}
	c.ends[dialer].session.setups.Add(-1)
	if s := c.ends[listener].session; s != nil {
		s.incoming.Add(-1)
	}
}

// unlink forgets an ended circuit in both sessions. What its ends could still have
// sent may be under way; the sessions let that much pass by. The caller holds no
// lock.
func (c *circuit) unlink() {
	c.mu.Lock() // the listener's end may just be made
	ends := [2]*session{c.ends[dialer].session, c.ends[listener].session}
	c.mu.Unlock()
	for i, s := range ends {
		if s == nil {
			continue
		}
		s.mu.Lock()
		s.forget(c.ends[i].id, c, max(0, c.ends[i].credit.Load()))
		s.mu.Unlock()
	}
}

// reset tells the session's peer that one of its streams is gone.
func (s *session) reset(id uint32) {
	s.control(yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagRST, StreamID: id}, nil)
}
