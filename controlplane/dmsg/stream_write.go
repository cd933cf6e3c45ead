package dmsg

import (
	"sync"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// maxRun is the most bytes of frames that go into one yamux frame: 16 full frames.
const maxRun = 16 * proto.MaxFrame

// The largest run must fit a yamux frame.
const _ uint = yamux.MaxFrame - maxRun

// A writer is the sending half of a Stream.
type writer struct {
	mu   sync.Mutex
	send *proto.SendStream
	// tail is the rest of a sealed frame that credit did not suffice for. It goes out
	// before anything else.
	tail []byte
}

// Write seals p and sends it, waiting for credit until the write deadline. It keeps no
// hold of p. After a deadline, n says how much of p the stream has taken; the stream
// goes on from there. It allocates nothing in the steady state.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := s.w.flush(s.mux); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		took, err := s.w.frames(s.mux, p)
		n, p = n+took, p[took:]
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// frames seals as much of p as one yamux frame and the credit take, straight into the
// send buffer.
func (w *writer) frames(mux *yamux.Stream, p []byte) (took int, err error) {
	buf, err := mux.Reserve(min(proto.FramesLen(min(len(p), proto.FramesFit(maxRun))), maxRun))
	if err != nil {
		return 0, err
	}
	room := buf.Bytes()
	took = min(len(p), proto.FramesFit(len(room)))
	if took == 0 {
		// Less credit than the smallest frame: a receiver may well wait for its end
		// before it grants more, so a part of a frame goes out.
		took = min(len(p), proto.MaxFramePlain)
		w.tail = w.send.AppendFrames(w.tail[:0], p[:took])
		n := copy(room, w.tail)
		w.tail = w.tail[n:]
		if err := mux.Send(buf, n); err != nil {
			return 0, err
		}
		return took, w.flush(mux)
	}
	sealed := w.send.AppendFrames(room[:0], p[:took])
	return took, mux.Send(buf, len(sealed))
}

// flush sends what is left of a frame.
func (w *writer) flush(mux *yamux.Stream) error {
	for len(w.tail) > 0 {
		buf, err := mux.Reserve(len(w.tail))
		if err != nil {
			return err
		}
		n := copy(buf.Bytes(), w.tail)
		w.tail = w.tail[n:]
		if err := mux.Send(buf, n); err != nil {
			return err
		}
	}
	return nil
}
