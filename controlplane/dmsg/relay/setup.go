package relay

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// requestTimeout is how long a request may take to come in, once its stream is
	// open; responseTimeout how long the listener has, which is what deployed
	// dialers wait.
	requestTimeout  = 5 * time.Second
	responseTimeout = 20 * time.Second
	// maxSetups bounds the set-ups that one session dials and those it answers, at a
	// time: yamux' accept backlog, beyond which an endpoint resets streams.
	maxSetups = 256
	// An object of more than plainObject bytes is far longer than any request needs.
	// Only while no more than bigSetups are in the making may a session begin one, so
	// that half-open set-ups hold 2 MiB for it at most.
	plainObject = 4 << 10
	bigSetups   = 16
	// maxForged is how many forged or repeated requests a session may send in
	// tickSlots seconds: sealing rubbish costs a peer nothing, seeing that it is
	// rubbish costs us a signature or two.
	maxForged = 256
	// minObject is the shortest object that holds a signature at all.
	minObject = proto.ObjectOverhead - 2 + cipher.SigLen + 1
	// objectStep is how much memory an announced length gets ahead of its bytes.
	objectStep = 1 << 10
)

// A setup is what a circuit needs until it passes: first the request collects in
// object, then the response. The same signed object that came in sealed from one
// hop goes out sealed for the other, equally long, so that the credit which it took
// from its sender is the credit that it takes from its receiver.
type setup struct {
	object   []byte    // u16 length and body of a sealed object, as far as it has come in
	deadline time.Time // of the present stage
	hash     [32]byte  // of the request
	dst      cipher.PubKey
	extra    [2]uint32     // credit that an end has granted before the other could take it
	done     chan struct{} // closed at the end of the set-up; made by whom it interests
}

// opened makes the circuit of a stream that the peer opens with h. s.mu is held.
func (s *session) opened(b *batch, h yamux.Header) Reason {
	if sideOf(h.StreamID) != dialer {
		return ViolationStreamID
	}
	if s.circuits[h.StreamID] != nil {
		return ViolationSYN
	}
	if s.unread() { // each stream brings an answer or a reset at last
		return ViolationNoReading
	}
	s.top = max(s.top, h.StreamID)
	limits := &s.srv.cfg
	if len(s.circuits) >= limits.MaxStreams || s.setups.Load() >= maxSetups || s.srv.draining.Load() || s.closing.Load() {
		return s.refuseStream(b, h.StreamID)
	}
	c := &circuit{setup: &setup{deadline: time.Now().Add(requestTimeout)}}
	for i := range c.ends {
		c.ends[i].credit.Store(yamux.InitialWindow)
	}
	c.ends[dialer].session, c.ends[dialer].id = s, h.StreamID
	if h.Type == yamux.TypeWindowUpdate {
		c.setup.extra[dialer] = min(h.Length, maxCredit-yamux.InitialWindow)
	}
	s.setups.Add(1)
	s.remember(h.StreamID, c)
	return ReasonNone
}

// refuseStream resets a stream that is beyond a limit. s.mu is held.
func (s *session) refuseStream(b *batch, id uint32) Reason {
	s.srv.stats.count(ResetCapacity)
	if s.refused++; s.refused > s.srv.cfg.MaxStreams {
		return ViolationSYNFlood
	}
	s.stray = min(s.stray+yamux.InitialWindow, maxCredit) // the request is on its way
	return s.answer(b, yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagRST, StreamID: id})
}

// feed handles p, the next part of s.body, for a circuit that is being set up, and
// returns how much it took. b.wait is set when the rest has to wait. s.mu is held.
func (s *session) feed(b *batch, p []byte) (int, Reason) {
	f := &s.body
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	su, stage := c.setup, c.stage.Load()
	if su == nil {
		return 0, ReasonNone // the stage has just moved on: look again
	}
	switch {
	case f.side == dialer && stage == collecting, f.side == listener && stage == awaiting:
		crowd := &s.setups
		if f.side == listener {
			crowd = &s.incoming
		}
		n, why := su.collect(p, crowd.Load() <= bigSetups)
		f.left -= n
		if why != ReasonNone {
			s.drop(b, c, why)
		} else if su.complete() {
			c.stage.Store(stage + 1)
			s.work.add(s, c)
		}
		if f.left == 0 && f.flags == 0 {
			f.open = false
		} else if f.left == 0 && c.stage.Load() == stage {
			s.endSetup(b, c, f.side) // FIN before the object was whole
			f.open = false
		}
		return n, ReasonNone
	case f.side == listener && stage == confirming:
		if su.done == nil {
			su.done = make(chan struct{})
		}
		b.wait = su.done
		return 0, ReasonNone
	case f.left == 0: // the dialer closes before there is an answer
		s.endSetup(b, c, f.side)
		f.open = false
		return 0, ReasonNone
	}
	return 0, ViolationEarly
}

// collect takes what belongs to the object off p and returns how much that is, and
// why the object cannot be one. big says whether it may begin with more than
// plainObject bytes announced.
func (su *setup) collect(p []byte, big bool) (int, Reason) {
	took := 0
	for len(p) > 0 && !su.complete() {
		want := 2 - len(su.object)
		if want <= 0 {
			want = min(2+int(binary.BigEndian.Uint16(su.object))-len(su.object), objectStep)
		}
		n := min(want, len(p))
		su.object = append(su.object, p[:n]...)
		p = p[n:]
		took += n
		if len(su.object) == 2 {
			switch n := binary.BigEndian.Uint16(su.object); {
			case n < minObject:
				return took, ResetRequest
			case n > plainObject && !big:
				return took, ResetCapacity
			}
		}
	}
	return took, ReasonNone
}

// complete reports whether the whole object is there.
func (su *setup) complete() bool {
	return len(su.object) >= 2 && len(su.object) == 2+int(binary.BigEndian.Uint16(su.object))
}

// updateSetup handles a window update or the flags on one for a circuit that is
// being set up. It returns false if the circuit has come to pass meanwhile. s.mu is
// held.
func (s *session) updateSetup(b *batch, c *circuit, side int, n uint32, flags yamux.Flags) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	su := c.setup
	switch {
	case su == nil:
		return c.stage.Load() == ended
	case flags == 0 || side == listener && c.stage.Load() == confirming:
		su.extra[side] = uint32(min(uint64(su.extra[side])+uint64(n), maxCredit-yamux.InitialWindow))
		if flags != 0 { // its answer first: this comes again as an empty data frame
			s.body = body{open: true, c: c, side: side, flags: flags}
		}
	default:
		s.endSetup(b, c, side)
	}
	return true
}

// endSetup ends a circuit because one side closed or reset its stream too early. Both
// streams are reset: a stream that was only half closed would wait for ever. c.mu and
// s.mu are held.
func (s *session) endSetup(b *batch, c *circuit, side int) {
	why := ResetByDialer
	if side == listener {
		why = ResetByListener
	}
	s.drop(b, c, why)
}

func (s *session) drop(b *batch, c *circuit, why Reason) {
	if c.killLocked(-1, why) {
		b.ended = append(b.ended, c)
	}
}

// checkRequest opens the request that the circuit's dialer has sent and passes it
// on. It runs in the session's workshop, in the stage checking, in which nobody else
// touches the set-up's object.
func (s *session) checkRequest(c *circuit) {
	su := c.inStage(checking)
	if su == nil {
		return
	}
	signed, to, hash, err := s.examine(su.object)
	switch {
	case err == nil:
		err = c.join(to, signed, hash, su.object)
	case hash == [32]byte{}: // nothing that an answer could refer to
		if c.kill(-1, ResetRequest) {
			c.unlink()
		}
		s.sentForged()
		return
	case errors.Is(err, proto.ErrReqTimestamp):
		s.sentForged()
	}
	if err != nil {
		s.refuse(c, hash, err)
	}
}

// sentForged counts a request that no honest client sends, and ends the session of a
// client that sends many.
func (s *session) sentForged() {
	if s.forged.Add(1) == maxForged {
		s.control(yamux.Header{Type: yamux.TypeGoAway, Length: uint32(yamux.GoAwayProtocolError)}, nil)
		s.giveUp(ViolationForged)
	}
}

// inStage returns the circuit's set-up if it is in that stage, checking or
// confirming: then its object, hash and dst change no more, and need no lock.
func (c *circuit) inStage(stage uint32) *setup {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage.Load() != stage {
		return nil
	}
	return c.setup
}

// examine opens and checks a request in place. The signed object it returns is a
// part of object. The hash is set as soon as the request has proved to be one.
func (s *session) examine(object []byte) (signed proto.Signed, to *session, hash [32]byte, err error) {
	plain, err := s.hop.Open(object[2:])
	if err != nil {
		return nil, nil, hash, err
	}
	signed = plain
	req, err := signed.Request()
	if err != nil {
		return nil, nil, hash, err
	}
	hash = signed.Hash()
	if req.Src.PK != s.peer {
		return nil, nil, hash, proto.ErrReqSrcKey
	}
	if err := s.srv.replay.Check(hash); err != nil {
		return nil, nil, hash, err
	}
	to = s.srv.find(req.Dst.PK)
	if to == nil {
		return nil, nil, hash, proto.ErrNoSession
	}
	return signed, to, hash, nil
}

// join opens a stream to the listener's session and sends it the request. object is
// the memory that signed stands in.
func (c *circuit) join(to *session, signed proto.Signed, hash [32]byte, object []byte) error {
	if to.incoming.Load() >= maxSetups || to.out.holds() {
		return proto.ErrCapacity
	}
	size := len(object)
	object, err := to.hop.Seal(object[:0], signed)
	if err != nil {
		return err
	}
	if len(object) != size {
		panic("relay: a request changed its length") // the credit of the stream would be off for good
	}
	id, err := to.adopt(c)
	if err != nil {
		return err
	}
	frames := make([]byte, 2*yamux.HeaderLen, 2*yamux.HeaderLen+len(object))
	c.mu.Lock()
	su := c.setup
	if su == nil { // the dialer or the listener has gone away meanwhile
		c.mu.Unlock() // to's reader may hold to.mu and wait for it
		to.mu.Lock()
		to.forget(id, c, 0)
		to.mu.Unlock()
		return nil
	}
	defer c.mu.Unlock()
	more := c.ends[listener].takeExtra(su, dialer)
	c.ends[listener].session, c.ends[listener].id = to, id
	to.incoming.Add(1)
	su.hash, su.dst, su.object = hash, to.peer, nil
	su.deadline = time.Now().Add(responseTimeout)
	yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagSYN, StreamID: id, Length: more}.Put(frames)
	yamux.Header{Type: yamux.TypeData, StreamID: id, Length: uint32(len(object))}.Put(frames[yamux.HeaderLen:])
	c.stage.Store(awaiting)
	to.controlBytes(append(frames, object...))
	return nil
}

// takeExtra turns what the end side has granted so far into credit of e, the other
// end, and returns how much that is. The circuit's mu is held.
func (e *end) takeExtra(su *setup, side int) uint32 {
	n := e.earn(su.extra[side])
	su.extra[side] = 0
	return n
}

// adopt gives c a stream of the session, which is the listener's.
func (s *session) adopt(c *circuit) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing.Load() || s.away.Load():
		return 0, proto.ErrNoSession
	case len(s.circuits) >= s.srv.cfg.MaxStreams || s.next > 1<<32-4:
		return 0, proto.ErrCapacity
	}
	id := s.next
	s.next += 2
	s.remember(id, c)
	return id, nil
}

// refuse answers a request that was good but cannot be met. The destination's
// signature is not ours to make, so the refusal bears the relay's: a deployed dialer
// finds that wrong and fails at once, ours checks it against the relay's key and
// knows the reason.
func (s *session) refuse(c *circuit, hash [32]byte, err error) {
	code := proto.ErrRefused
	errors.As(err, &code)
	why := ResetRequest
	switch code {
	case proto.ErrNoSession:
		why = ResetNoSession
	case proto.ErrCapacity, proto.ErrRefused:
		why = ResetCapacity
	}
	object, err := s.refusal(hash, code)
	c.mu.Lock()
	over := !c.end()
	if !over {
		s.srv.stats.count(why)
		c.settle()
		if err != nil {
			s.reset(c.ends[dialer].id)
		} else {
			s.control(yamux.Header{Type: yamux.TypeData, Flags: yamux.FlagACK | yamux.FlagFIN, StreamID: c.ends[dialer].id, Length: uint32(len(object))}, object)
		}
	}
	c.mu.Unlock()
	if !over {
		c.unlink()
	}
}

// refusal seals the relay's own answer to the request with that hash.
func (s *session) refusal(hash [32]byte, code proto.Code) ([]byte, error) {
	signed, err := s.srv.cfg.Identity.SignResponse(&proto.Response{ReqHash: hash, ErrCode: code})
	if err != nil {
		return nil, err
	}
	return s.hop.Seal(nil, signed)
}

// checkResponse opens the response that the circuit's listener, this session, has
// sent, passes it on and lets the circuit pass. It runs in the workshop like
// checkRequest.
func (s *session) checkResponse(c *circuit) {
	su := c.inStage(confirming)
	if su == nil {
		return
	}
	to := c.ends[dialer].session
	object, size := su.object, len(su.object)
	plain, err := s.hop.Open(object[2:])
	if err == nil {
		// A refusal is a response like any other; the listener closes its stream
		// behind it.
		_, err = proto.Signed(plain).Response(su.hash, su.dst)
	}
	if err == nil {
		object, err = to.hop.Seal(object[:0], plain)
	}
	if err != nil {
		if c.kill(-1, ResetResponse) {
			c.unlink()
		}
		return
	}
	if len(object) != size {
		panic("relay: a response changed its length")
	}
	c.open(object)
}

// open sends the dialer its response, and whatever credit came in meanwhile to
// either end, and from then on lets frames pass.
func (c *circuit) open(object []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	su := c.setup
	if su == nil {
		return
	}
	from, to := &c.ends[dialer], &c.ends[listener]
	from.session.srv.stats.dials.Add(1)
	from.session.srv.stats.streams.Add(1)
	frames := make([]byte, 2*yamux.HeaderLen, 2*yamux.HeaderLen+len(object))
	yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagACK, StreamID: from.id, Length: from.takeExtra(su, listener)}.Put(frames)
	yamux.Header{Type: yamux.TypeData, StreamID: from.id, Length: uint32(len(object))}.Put(frames[yamux.HeaderLen:])
	from.session.controlBytes(append(frames, object...))
	if n := to.takeExtra(su, dialer); n > 0 {
		to.session.control(yamux.Header{Type: yamux.TypeWindowUpdate, StreamID: to.id, Length: n}, nil)
	}
	c.stage.Store(passing)
	c.settle()
}
