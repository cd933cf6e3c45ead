package yamux

import "net"

// reflectBatch is how many answers to the peer are queued before they are written
// although more frames wait to be read.
const reflectBatch = 256

// An input is how far the session's reader has come in the stream of frames.
type input struct {
	head  [HeaderLen]byte // the start of a header that was cut
	n     int             // bytes in head
	to    *Stream         // whose body is being read; nil: thrown away
	left  int             // bytes of it to come
	fin   bool            // and then the stream's end
	since int             // answers since the last flush
}

// feed takes bytes from the connection, cut anywhere. An error ends the session.
// Only the session's reader calls it.
func (s *Session) feed(p []byte) error {
	in := &s.in
	for len(p) > 0 {
		if in.left > 0 {
			n := min(in.left, len(p))
			if in.to != nil {
				in.to.receive(p[:n], in.left)
			}
			p = p[n:]
			if in.left -= n; in.left == 0 && in.to != nil {
				in.to.endBody(in.fin)
				in.to = nil
			}
			continue
		}
		raw := p
		if in.n > 0 || len(p) < HeaderLen {
			n := copy(in.head[in.n:], p)
			in.n += n
			p = p[n:]
			if in.n < HeaderLen {
				return nil
			}
			raw, in.n = in.head[:], 0
		} else {
			p = p[HeaderLen:]
		}
		h, err := ParseHeader(raw)
		if err != nil {
			return violation("%w", err)
		}
		if err := s.handle(h); err != nil {
			return err
		}
	}
	return nil
}

// handle takes a frame's header; in is left ready for its body.
func (s *Session) handle(h Header) error {
	switch h.Type {
	case TypePing:
		s.handlePing(h)
		return nil
	case TypeGoAway:
		return s.handleGoAway(h)
	}
	st, err := s.find(h)
	if err != nil {
		return err
	}
	s.in.left = int(h.BodyLen()) // 32-bit: see the check in find
	s.in.to = nil
	if st != nil && st.handle(h) && s.in.left > 0 {
		s.in.to, s.in.fin = st, h.Flags&FlagFIN != 0
	}
	return nil
}

// find returns the stream that h is for, making it if h opens it; nil where the
// frame is to be thrown away.
func (s *Session) find(h Header) (*Stream, error) {
	if h.StreamID == 0 {
		return nil, violation("%v frame for stream 0", h.Type)
	}
	if h.BodyLen() > maxMaxWindow {
		// More than anybody ever got credit for, and more than an int of 32 bits may hold.
		return nil, violation("frame of %d bytes", h.Length)
	}
	s.mu.Lock()
	st := s.streams[h.StreamID]
	own := h.StreamID%2 == 1 == s.cfg.Client
	switch {
	case h.Flags&FlagSYN == 0:
		opened := st != nil || own && h.StreamID < s.nextID || !own && h.StreamID <= s.peerID
		s.mu.Unlock()
		if !opened {
			return nil, violation("%v frame for stream %d, which nobody opened", h.Type, h.StreamID)
		}
		// What is not in the table has been closed or refused; frames sent before
		// the peer knew may still come.
		return st, nil
	case own:
		s.mu.Unlock()
		return nil, violation("opened stream %d, a number of ours", h.StreamID)
	case st != nil:
		s.mu.Unlock()
		return nil, violation("opened stream %d twice", h.StreamID)
	}
	// Numbers may come out of order: a peer's streams race for the connection.
	s.peerID = max(s.peerID, h.StreamID)
	if s.err == nil && !s.refuse && len(s.streams) < s.cfg.MaxStreams {
		st = newStream(s, h.StreamID, false)
		select {
		case s.accept <- st:
			s.streams[h.StreamID] = st
			s.mu.Unlock()
			return st, nil
		default:
		}
	}
	s.mu.Unlock()
	s.answer(Header{Type: TypeWindowUpdate, Flags: FlagRST, StreamID: h.StreamID})
	return nil, nil
}

// answer queues a frame that the peer provoked. They go out together once what was
// read is used up, or before when there are many.
func (s *Session) answer(h Header) {
	s.out.reflect(h)
	if s.in.since++; s.in.since >= reflectBatch {
		s.in.since = 0
		s.out.flush()
	}
}

func (s *Session) handlePing(h Header) {
	if h.Flags&FlagSYN != 0 {
		s.answer(Header{Type: TypePing, Flags: FlagACK, Length: h.Length})
	} else {
		s.pings.answered(h.Length)
	}
}

func (s *Session) handleGoAway(h Header) error {
	switch code := GoAwayCode(h.Length); code {
	case GoAwayNormal:
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.gone {
			s.gone = true
			close(s.goneCh)
		}
		return nil
	case GoAwayProtocolError:
		return errPeerProtocol
	case GoAwayInternalError:
		return errPeerInternal
	default:
		return violation("went away with the unknown code %d", code)
	}
}

// handle takes the header of a frame for the stream and reports whether its body is
// wanted.
func (st *Stream) handle(h Header) (wanted bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return false
	}
	if h.Flags&FlagACK != 0 {
		st.acknowledged()
	}
	if h.Flags&FlagRST != 0 {
		st.dropReceived()
		st.gotFIN = false // the end that the reader is to see is the reset
		st.endLocked(ErrReset)
		return false
	}
	if h.Type == TypeWindowUpdate {
		st.addCredit(h.Length)
	} else if !st.arrive(int64(h.Length)) {
		return false
	}
	if h.Flags&FlagFIN != 0 && (h.BodyLen() == 0 || st.closed) {
		st.handleFIN()
	}
	return !st.closed
}

// endBody follows the last byte of a body; with fin it was the stream's last.
func (st *Stream) endBody(fin bool) {
	if !fin {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.gone {
		st.handleFIN()
	}
}

// arrive takes the announcement of n bytes and reports whether they may come. st.mu
// is held.
func (st *Stream) arrive(n int64) bool {
	if n == 0 {
		return true
	}
	if st.gotFIN {
		st.violated(violation("data behind the end of stream %d", st.id))
		return false
	}
	ok, factor := st.win.arrive(n, int64(st.buffered), st.wanted > 0)
	if !ok {
		st.violated(violation("%d bytes for stream %d, beyond its window", n, st.id))
		return false
	}
	if factor > 1 && !st.closed && st.win.grow(factor, st.sess.cfg.Budget, int64(st.sess.cfg.MaxWindow)) {
		st.pushGrant()
	}
	if st.closed && st.win.credit == 0 {
		st.resetLocked(net.ErrClosed)
		return false
	}
	return true
}

// handleFIN takes the end of what the peer writes. st.mu is held.
func (st *Stream) handleFIN() {
	if st.gotFIN {
		st.violated(violation("ended stream %d twice", st.id))
		return
	}
	st.gotFIN = true
	st.wanted = 0
	st.readable.Broadcast()
	if st.sentFIN {
		st.leave()
	}
}

// violated resets the stream, and only it: a relay passes on what somebody else's
// client sends, and the session's other streams are not to suffer for that. st.mu is
// held; the session's reader flushes.
func (st *Stream) violated(err error) {
	st.dropReceived()
	st.gotFIN = false
	st.resetLocked(err)
}
