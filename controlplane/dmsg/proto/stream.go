package proto

import (
	"encoding/binary"
	"fmt"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
)

// Sizes of stream frames, in bytes.
const (
	// MaxFrame is the longest frame, its length in front.
	MaxFrame = 4096
	// MaxFramePlain is the most plaintext that a frame carries.
	MaxFramePlain = MaxFrame - FrameOverhead
	// FrameOverhead is how much longer a frame is than its plaintext: u16 length,
	// u64 counter, tag.
	FrameOverhead = ObjectOverhead
	// MinFrameBody and MaxFrameBody bound a frame's length, which counts neither
	// itself; 0 instead is a newer foreign software's ping, to be echoed as it is.
	MinFrameBody = counterLen + noise.TagLen
	MaxFrameBody = MaxFrame - lengthLen
)

// An Initiator is the dialer's half of a KK handshake in progress. Not safe for
// concurrent use.
type Initiator struct{ h *noise.Handshake }

// Initiate begins a stream to remote: msg1 goes into the Request. It fails where
// remote is no valid key.
func (id *Identity) Initiate(remote cipher.PubKey) (in *Initiator, msg1 []byte, err error) {
	return id.initiate(remote, nil)
}

// Finish reads message 2, out of the Response. It fails with noise.ErrMessage.
func (in *Initiator) Finish(msg2 []byte) (*SendStream, *RecvStream, error) {
	if _, err := in.h.ReadMessage(nil, msg2); err != nil {
		return nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	return streams(in.h)
}

// Respond answers msg1 of a Request from remote; msg2 goes into the Response, and
// the stream may be written to as soon as that is on its way. A payload in msg1,
// with which newer foreign software offers a hybrid handshake, is ignored; without
// one in msg2 the dialer stays classical. It fails with noise.ErrMessage.
func (id *Identity) Respond(remote cipher.PubKey, msg1 []byte) (msg2 []byte, send *SendStream, recv *RecvStream, err error) {
	return id.respond(remote, msg1, nil)
}

// A SendStream seals one direction of a stream. It belongs to one goroutine at a
// time.
type SendStream struct {
	key     *noise.SendKey
	nonce   noise.Nonce
	counter uint64 // of the last frame; a stream does not live to see 2^64 of them
}

// AppendFrames seals p as frames of up to MaxFramePlain bytes each, appends them to
// dst and returns the result, FramesLen(len(p)) bytes longer. Nothing is appended
// for an empty p. Both are borrowed for the call and must not overlap. Allocates
// only to grow dst.
func (s *SendStream) AppendFrames(dst, p []byte) []byte {
	for len(p) > 0 {
		n := min(len(p), MaxFramePlain)
		s.counter++
		dst = binary.BigEndian.AppendUint16(dst, uint16(MinFrameBody+n))
		dst = binary.BigEndian.AppendUint64(dst, s.counter)
		dst = s.key.Seal(dst, p[:n], nil, &s.nonce, 0, s.counter)
		p = p[n:]
	}
	return dst
}

// FramesLen returns how many bytes n bytes of plaintext take as frames.
func FramesLen(n int) int { return n + (n+MaxFramePlain-1)/MaxFramePlain*FrameOverhead }

// FramesFit returns the most plaintext whose frames fit into n bytes.
func FramesFit(n int) int {
	return n/MaxFrame*MaxFramePlain + max(0, n%MaxFrame-FrameOverhead)
}

// A RecvStream opens the other direction. It belongs to one goroutine at a time.
type RecvStream struct {
	key     *noise.RecvKey
	nonce   noise.Nonce
	counter uint64 // of the last good frame
}

// Open opens a frame's body, without its u16 length, in place: the result is the
// plaintext, a part of body; it may be empty. Frames come in order, though numbers
// may be missing. Allocates nothing.
//
// Errors: [ErrLength], [ErrReplayed], noise.ErrAuth. A stream whose bytes went
// wrong is over, but a forged frame does not keep the next true one from opening.
func (s *RecvStream) Open(body []byte) ([]byte, error) {
	if len(body) < MinFrameBody || len(body) > MaxFrameBody {
		return nil, ErrLength
	}
	counter, sealed := binary.BigEndian.Uint64(body), body[counterLen:]
	if counter <= s.counter {
		return nil, ErrReplayed
	}
	plain, err := s.key.Open(sealed[:0], sealed, nil, &s.nonce, 0, counter)
	if err != nil {
		return nil, err
	}
	s.counter = counter
	return plain, nil
}
