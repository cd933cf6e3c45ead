package relay

import (
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// parse handles frames in b.buf[p:to] until the bytes or the batch's places run
// out, or something must be waited for (b.wait). Frames to pass on are rewritten
// where they stand and noted in b. It returns how far it came, and how the peer
// broke the protocol if it did; frames before that are still passed on. s.mu is
// held.
//
// A data frame whose body goes beyond to is passed on in two frames, so that no
// receiver ever waits in the middle of one: there is room for the second one's
// header in front of its bytes, wherever they are (see headroom).
func (s *session) parse(b *batch, p, to int) (int, Reason) {
	for (p < to || s.body.ready()) && b.wait == nil && !b.full() {
		if s.body.open {
			n, why := s.takeBody(b, p, to)
			p += n
			if why != ReasonNone {
				return p, why
			}
			continue
		}
		if to-p < yamux.HeaderLen {
			s.fragLen = copy(s.fragment[:], b.buf[p:to])
			return to, ReasonNone
		}
		h, err := yamux.ParseHeader(b.buf[p:to])
		if err != nil {
			return p, ViolationHeader
		}
		p += yamux.HeaderLen
		if why := s.frame(b, h, p); why != ReasonNone {
			return p, why
		}
	}
	return p, ReasonNone
}

// frame handles a frame whose header ends at p.
func (s *session) frame(b *batch, h yamux.Header, p int) Reason {
	switch h.Type {
	case yamux.TypePing:
		return s.ping(b, h)
	case yamux.TypeGoAway:
		if yamux.GoAwayCode(h.Length) != yamux.GoAwayNormal {
			return ViolationGoAway
		}
		s.away.Store(true)
		return ReasonNone
	}
	if h.Flags&yamux.FlagSYN != 0 {
		if why := s.opened(b, h); why != ReasonNone {
			return why
		}
	}
	c := s.lookup(h.StreamID)
	if h.Type == yamux.TypeWindowUpdate {
		return s.update(b, c, h, p)
	}
	return s.data(c, h)
}

// ping answers a ping; an answer to ours counts by having come.
func (s *session) ping(b *batch, h yamux.Header) Reason {
	if h.Flags&yamux.FlagSYN == 0 {
		return ReasonNone
	}
	return s.answer(b, yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagACK, Length: h.Length})
}

// data begins a data frame.
func (s *session) data(c *circuit, h yamux.Header) Reason {
	if c == nil {
		if !s.existed(h.StreamID) {
			return ViolationUnknown
		}
		if s.stray -= int64(h.Length); s.stray < 0 {
			return ViolationClosed
		}
		s.body = body{open: h.Length > 0, left: int(h.Length)}
		return ReasonNone
	}
	side := sideOf(h.StreamID)
	if !c.ends[side].spend(h.Length) {
		return ViolationWindow
	}
	s.body = body{open: true, c: c, side: side, left: int(h.Length), flags: h.Flags & (yamux.FlagFIN | yamux.FlagRST)}
	return ReasonNone
}

// takeBody handles the next part of the open body, which is at b.buf[p:to] as far
// as it has come in, and returns how much of it that was.
func (s *session) takeBody(b *batch, p, to int) (int, Reason) {
	f := &s.body
	n := min(f.left, to-p)
	switch {
	case f.c == nil:
	case f.c.stage.Load() == ended:
		f.c = nil
		f.flags = 0
	case f.c.stage.Load() == passing:
		f.left -= n
		f.open = f.left > 0
		s.pass(b, n, p)
		return n, ReasonNone
	default:
		return s.feed(b, b.buf[p:p+n])
	}
	f.left -= n // nobody wants it
	f.open = f.left > 0
	return n, ReasonNone
}

// pass sends the n bytes at p, the next part of s.body, to the other end.
func (s *session) pass(b *batch, n, p int) {
	f := &s.body
	var flags yamux.Flags
	if !f.open {
		flags = f.flags
	}
	if f.c.fins.Load()&(1<<f.side) != 0 {
		// The deployed software's race of a write with a close: no data after FIN.
		n, flags = 0, flags&yamux.FlagRST
	}
	if n == 0 && flags == 0 {
		return
	}
	to := &f.c.ends[f.side^1]
	yamux.Header{Type: yamux.TypeData, Flags: flags, StreamID: to.id, Length: uint32(n)}.Put(b.buf[p-yamux.HeaderLen:])
	b.add(to.session, p-yamux.HeaderLen, p+n)
	s.finish(b, f.c, f.side, flags)
}

// update handles a window update whose header ends at p.
func (s *session) update(b *batch, c *circuit, h yamux.Header, p int) Reason {
	if c == nil {
		if !s.existed(h.StreamID) {
			return ViolationUnknown
		}
		return ReasonNone
	}
	side, flags := sideOf(h.StreamID), h.Flags&(yamux.FlagFIN|yamux.FlagRST)
	switch c.stage.Load() {
	case ended:
		return ReasonNone
	case passing:
	default:
		if h.Flags&yamux.FlagSYN != 0 {
			return ReasonNone // opened took its credit
		}
		if done := s.updateSetup(b, c, side, h.Length, flags); done {
			return ReasonNone
		}
	}
	if flags&yamux.FlagRST == 0 && c.fins.Load()&(1<<side) != 0 {
		flags = 0 // FIN counts once; what repeats it is an update like any other
	}
	to := &c.ends[side^1]
	switch {
	case flags != 0:
		h.Length = to.earn(h.Length)
		yamux.Header{Type: yamux.TypeWindowUpdate, Flags: flags, StreamID: to.id, Length: h.Length}.Put(b.buf[p-yamux.HeaderLen:])
		b.add(to.session, p-yamux.HeaderLen, p)
		s.finish(b, c, side, flags)
	case h.Length == 0: // a bare ACK, which is between us and this peer
	case s.out.holds() || to.session.out.busy():
		b.grants = append(b.grants, grant{c, side, h.Length})
	default:
		if n := to.earn(h.Length); n > 0 {
			yamux.Header{Type: yamux.TypeWindowUpdate, StreamID: to.id, Length: n}.Put(b.buf[p-yamux.HeaderLen:])
			b.add(to.session, p-yamux.HeaderLen, p)
		}
	}
	return ReasonNone
}

// finish notes that an end of a passing circuit has sent flags.
func (s *session) finish(b *batch, c *circuit, side int, flags yamux.Flags) {
	const both = 1<<dialer | 1<<listener
	over := flags&yamux.FlagRST != 0
	if flags&yamux.FlagFIN != 0 {
		old := c.fins.Or(1 << side)
		over = over || old|1<<side == both
	}
	if over && c.end() {
		b.ended = append(b.ended, c)
	}
}
