package link

import (
	"encoding/binary"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A record on the stream is u32 length ‖ sealed text; the text is one or more times
// u16 length ‖ route packet (docs/wire.md section 3).
const (
	recordHeaderLen = 4
	packetPrefixLen = 2
	maxRecordText   = 1 << 16
	minRecordBody   = packetPrefixLen + packet.RouteAlign + packet.TagLen
	maxRecordBody   = maxRecordText + packet.TagLen

	// recordAt is where a record begins in its Buf: its header and the prefix of its
	// first packet then lie in the spare bytes in front of that packet, and a frame
	// from a Tx becomes a record without moving.
	recordAt     = packet.FrameHeaderLen - packetPrefixLen - recordHeaderLen
	recordTextAt = recordAt + recordHeaderLen
)

// A record of the largest size fits a Buf from recordAt on.
var _ [packet.BufCap - recordTextAt - maxRecordBody]byte

// A record under construction or on its way out.
type record struct {
	buf  *packet.Buf // owned; nil: none
	at   int         // what comes before has been written
	end  int         // of the text, after seal of the record
	n    int         // route packets in it
	size int         // their bytes
}

func newRecord(buf *packet.Buf) record { return record{buf: buf, at: recordAt, end: recordTextAt} }

// fits reports whether a text of size bytes more fits.
func (r *record) fits(size int) bool { return r.end-recordTextAt+size <= maxRecordText }

// addFrames appends the packets of n frames that are seg bytes apart in frames.
// These may lie in r's own Buf from its start on, if the record is empty: packets
// only ever move towards the front, the first not at all.
func (r *record) addFrames(frames []byte, seg, n int) {
	for at := 0; at < len(frames); at += seg {
		end := min(at+seg, len(frames))
		r.add(frames[at+packet.FrameHeaderLen : end-packet.TagLen])
	}
	r.n += n
}

// add appends one packet, or moves it there.
func (r *record) add(pkt []byte) {
	b := r.buf.B[r.end:]
	binary.BigEndian.PutUint16(b, uint16(len(pkt)))
	if &b[packetPrefixLen] != &pkt[0] {
		copy(b[packetPrefixLen:], pkt)
	}
	r.end += packetPrefixLen + len(pkt)
	r.size += len(pkt)
}

// addText appends packets that have their prefixes already.
func (r *record) addText(text []byte) { r.end += copy(r.buf.B[r.end:], text) }

// seal finishes the record under k and its next number.
func (r *record) seal(k *noise.SendKey, nonce *noise.Nonce) error {
	counter, err := k.Reserve(1)
	if err != nil {
		return err
	}
	text := r.buf.B[recordTextAt:r.end]
	head := r.buf.B[recordAt:recordTextAt]
	binary.BigEndian.PutUint32(head, uint32(len(text)+packet.TagLen))
	k.Seal(text[:0], text, head, nonce, 0, counter)
	r.end += packet.TagLen
	return nil
}

// nextRecord returns the size in bytes of the record that b begins with, 0 if b is
// too short to tell. ok is false if its length is impossible.
func nextRecord(b []byte) (size int, ok bool) {
	if len(b) < recordHeaderLen {
		return 0, true
	}
	body := binary.BigEndian.Uint32(b)
	if body < minRecordBody || body > maxRecordBody {
		return 0, false
	}
	return recordHeaderLen + int(body), true
}

// validText reports whether a record's text parses to its end: nothing of a record
// counts if a part of it is wrong.
func validText(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	for len(text) > 0 {
		if len(text) < packetPrefixLen {
			return false
		}
		n := int(binary.BigEndian.Uint16(text))
		text = text[packetPrefixLen:]
		if n < packet.RouteAlign || n%packet.RouteAlign != 0 || n > len(text) {
			return false
		}
		text = text[n:]
	}
	return true
}

// nextPacket splits the first packet off a valid text.
func nextPacket(text []byte) (pkt, rest []byte) {
	end := packetPrefixLen + int(binary.BigEndian.Uint16(text))
	return text[packetPrefixLen:end:end], text[end:]
}
