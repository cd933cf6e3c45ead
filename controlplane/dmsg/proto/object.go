package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/skyminer/skywire/dataplane/noise"
)

// Sizes of sealed objects, in bytes.
const (
	// MaxObject is the longest body of an object: its length is a u16.
	MaxObject = 65535
	// ObjectOverhead is how much longer a sealed object is than its plaintext:
	// length, counter, tag. ObjectHeader of these are in front.
	ObjectOverhead = ObjectHeader + noise.TagLen
	// ObjectHeader is the length of length and counter.
	ObjectHeader = lengthLen + counterLen

	lengthLen  = 2
	counterLen = 8
)

// Errors of objects and frames.
var (
	// ErrLength says that an object, frame or handshake message has a length that
	// it cannot have.
	ErrLength = errors.New("dmsg: impossible length")
	// ErrReplayed says that an object or frame came with a counter that is used up.
	ErrReplayed = errors.New("dmsg: counter was seen before")
)

// A lengthError is an ErrLength that says which, for others to say of what.
type lengthError int

func (e lengthError) Error() string { return fmt.Sprintf("impossible length of %d bytes", int(e)) }

func (e lengthError) Is(target error) bool { return target == ErrLength }

// Seal appends plain to dst as a sealed object, its u16 length in front, and
// returns the result. dst and plain are borrowed for the call. To seal in place,
// as a relay does with what it has opened, let plain be dst[ObjectHeader:] of the
// same memory with room for the tag behind; apart from that they must not overlap.
//
// Objects of one session must not be lost on the way but may overtake each other.
// Errors: [ErrLength] where plain is longer than MaxObject allows,
// noise.ErrExhausted.
func (s *Session) Seal(dst, plain []byte) ([]byte, error) {
	body := counterLen + len(plain) + noise.TagLen
	if body > MaxObject {
		return nil, fmt.Errorf("dmsg: object: %w", lengthError(body))
	}
	counter, err := s.send.Reserve(1)
	if err != nil {
		return nil, err
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(body))
	dst = binary.BigEndian.AppendUint64(dst, counter)
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	return s.send.Seal(dst, plain, nil, &s.sendNonce, 0, counter), nil
}

// Open opens the body of an object, without its u16 length, in place: the result
// is the plaintext, a part of body. Each object opens once; they may come in any
// order within 8192.
//
// Errors: [ErrLength], [ErrReplayed], noise.ErrAuth, after which body is spoilt
// but the session is as good as before.
func (s *Session) Open(body []byte) ([]byte, error) {
	if len(body) < counterLen+noise.TagLen || len(body) > MaxObject {
		return nil, fmt.Errorf("dmsg: object: %w", lengthError(len(body)))
	}
	counter, sealed := binary.BigEndian.Uint64(body), body[counterLen:]
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if !s.window.Check(counter) {
		return nil, ErrReplayed
	}
	plain, err := s.recv.Open(sealed[:0], sealed, nil, &s.recvNonce, 0, counter)
	if err != nil {
		return nil, err
	}
	s.window.Accept(counter)
	return plain, nil
}

// ReadObject reads one object from r, its length and exactly its body, and returns
// the body. It uses buf's memory as far as that goes, and grows it only as bytes
// arrive, so that a length alone costs nothing. io.EOF stands for the end in front
// of an object, io.ErrUnexpectedEOF for one inside.
func ReadObject(r io.Reader, buf []byte) ([]byte, error) {
	body, err := readFramed(r, buf, counterLen+noise.TagLen, MaxObject)
	if errors.Is(err, ErrLength) {
		return nil, fmt.Errorf("dmsg: object: %w", err)
	}
	return body, err
}

// readFramed reads a u16 length from least to most, and that many bytes. One read
// suffices where everything has arrived and is no longer than least.
func readFramed(r io.Reader, buf []byte, least, most int) ([]byte, error) {
	const step = 4096
	head := grow(buf[:0], lengthLen+least)
	have, err := io.ReadAtLeast(r, head, lengthLen)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head))
	if n < least || n > most {
		return nil, lengthError(n)
	}
	body := head[:copy(head, head[lengthLen:have])]
	for len(body) < n {
		from := len(body)
		body = grow(body, min(n-from, max(step, cap(body)-from)))
		if _, err := io.ReadFull(r, body[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}

// grow returns b with n more bytes, whatever they hold.
func grow(b []byte, n int) []byte { return slices.Grow(b, n)[:len(b)+n] }
