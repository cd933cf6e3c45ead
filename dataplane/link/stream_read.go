package link

import (
	"encoding/binary"
	"fmt"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// readExactly is the size of a record from which on the reader asks the socket for
// that record and no more than the next one's header: what it would have read of
// the next would have to be moved to the front of the buffer.
const readExactly = 16 << 10

// A reader is the reading half of a stream; it belongs to the reader's goroutine.
type reader struct {
	key     *noise.RecvKey
	next    *noise.RecvKey // from the next record on
	counter uint64
	nonce   noise.Nonce

	buf        *packet.Buf // nil while nothing of a record is here
	start, end int         // what has been read and not yet opened
	head       [recordHeaderLen]byte
}

// space returns where to read to, at least one byte: behind what is there, which
// moves to the front if the record that it begins would not fit.
func (r *reader) space() []byte {
	if r.buf == nil {
		r.buf, r.start, r.end = packet.GetBuf(), 0, 0
	}
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	size, _ := nextRecord(r.buf.B[r.start:r.end]) // an impossible one was refused before
	if r.start+max(size, recordHeaderLen) > packet.BufCap {
		r.end = copy(r.buf.B[:], r.buf.B[r.start:r.end])
		r.start = 0
	}
	limit := packet.BufCap
	if size >= readExactly {
		limit = min(limit, r.start+size+recordHeaderLen)
	}
	return r.buf.B[r.end:limit]
}

// rest lets go of the slab if it is empty: a wait may be long.
func (r *reader) rest() {
	if r.buf != nil && r.start == r.end {
		r.buf.Free()
		r.buf = nil
	}
}

// readLoop is the stream's reader.
func (s *stream) readLoop() {
	err := s.read()
	s.close(err)
	r := &s.in
	r.start = r.end
	r.rest()
	s.cfg.onClosed(s.cause())
}

func (s *stream) read() error {
	for {
		if err := s.receive(); err != nil {
			return err
		}
		if err := s.records(); err != nil {
			return err
		}
	}
}

// receive waits for more bytes and reads them.
func (s *stream) receive() error {
	r := &s.in
	if s.sock != nil {
		return s.sock.read(r)
	}
	if r.rest(); r.buf == nil {
		n, err := s.conn.Read(r.head[:])
		if n > 0 {
			r.end += copy(r.space(), r.head[:n])
		}
		return err
	}
	n, err := s.conn.Read(r.space())
	r.end += n
	return err
}

// records opens all records that are here to their end.
func (s *stream) records() error {
	r := &s.in
	if r.buf == nil {
		return nil // a read of nothing, which an io.Reader may do
	}
	size, ok := nextRecord(r.buf.B[r.start:r.end])
	if ok && (size == 0 || size > r.end-r.start) {
		return nil
	}
	b := s.cfg.pool.burst()
	defer s.cfg.pool.bursts.Put(b)
	b.reset(nil, 0)
	b.From, b.Now, b.Tx = s.cfg.link, s.cfg.now(), s.cfg.tx()
	defer func() {
		s.cfg.put(b.Tx)
		b.From, b.Tx = nil, nil
	}()
	for ok && size > 0 && size <= r.end-r.start {
		text, err := r.open(r.buf.B[r.start : r.start+size])
		if err != nil {
			s.deliver(b)
			return err
		}
		r.start += size
		s.packets(b, text)
		size, ok = nextRecord(r.buf.B[r.start:r.end])
	}
	s.deliver(b)
	if !ok {
		return fmt.Errorf("%w: its length is impossible", errRecord)
	}
	return nil
}

// open opens a whole record in place and checks that its text parses.
func (r *reader) open(rec []byte) ([]byte, error) {
	sealed := rec[recordHeaderLen:]
	text, err := r.key.Open(sealed[:0], sealed, rec[:recordHeaderLen], &r.nonce, 0, r.counter)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if !validText(text) {
		return nil, fmt.Errorf("%w: it does not parse to its end", errRecord)
	}
	r.counter++
	return text, nil
}

// packets sorts the packets of a valid text: control is handled at once, the others
// are gathered in b.
func (s *stream) packets(b *Burst, text []byte) {
	for len(text) > 0 {
		var pkt []byte
		pkt, text = nextPacket(text)
		if binary.BigEndian.Uint32(pkt) == uint32(packet.LabelLink) {
			s.cfg.onControl(pkt, b.Now)
			continue
		}
		if b.N == MaxBurst {
			s.deliver(b)
		}
		b.Pkt[b.N] = pkt
		b.N++
	}
	if r := &s.in; r.next != nil {
		r.key, r.next, r.counter = r.next, nil, 0
	}
}

func (s *stream) deliver(b *Burst) {
	if b.N > 0 {
		s.cfg.onBurst(b)
		b.N = 0
	}
}

// switchRecv changes the receiving key from the next record on. To be called from
// onControl.
func (s *stream) switchRecv(next *noise.RecvKey) { s.in.next = next }
