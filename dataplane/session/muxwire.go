package session

import (
	"encoding/binary"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// Payloads of a mux session, docs/wire.md sections 5.3 and 5.5.
const (
	muxHeaderLen = 5 // proto, number
	muxReportLen = 1 + 4 + 4 + 8 + 8 + 8
)

// A muxReport says how far a route has brought its packets.
type muxReport struct {
	seq     uint32        // the highest number that has arrived on the route
	held    time.Duration // how long ago that was; µs on the wire
	at      time.Duration // when that was, by the reporter's clock; µs on the wire
	packets uint64        // mux packets that have arrived on the route
	bytes   uint64        // their payloads, with proto and number
}

func (r muxReport) put(b []byte) {
	_ = b[muxReportLen-1]
	b[0] = packet.ProtoMuxReport
	binary.BigEndian.PutUint32(b[1:], r.seq)
	binary.BigEndian.PutUint32(b[5:], uint32(min(max(r.held.Microseconds(), 0), 1<<32-1)))
	binary.BigEndian.PutUint64(b[9:], uint64(r.at.Microseconds()))
	binary.BigEndian.PutUint64(b[17:], r.packets)
	binary.BigEndian.PutUint64(b[25:], r.bytes)
}

// maxReportClock bounds a reporter's clock: 36 years, so that differences of two such
// times fit a Duration.
const maxReportClock = 1 << 50

// parseMuxReport reads a payload of packet.ProtoMuxReport.
func parseMuxReport(b []byte) (r muxReport, ok bool) {
	if len(b) != muxReportLen || b[0] != packet.ProtoMuxReport {
		return muxReport{}, false
	}
	at := binary.BigEndian.Uint64(b[9:])
	if at > maxReportClock {
		return muxReport{}, false
	}
	return muxReport{
		seq:     binary.BigEndian.Uint32(b[1:]),
		held:    time.Duration(binary.BigEndian.Uint32(b[5:])) * time.Microsecond,
		at:      time.Duration(at) * time.Microsecond,
		packets: binary.BigEndian.Uint64(b[17:]),
		bytes:   binary.BigEndian.Uint64(b[25:]),
	}, true
}

// parseMux reads a payload of packet.ProtoMux: the number and the payload inside, with its own
// proto. inner aliases b.
func parseMux(b []byte) (seq uint32, inner []byte, ok bool) {
	if len(b) <= muxHeaderLen || b[0] != packet.ProtoMux {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b[1:]), b[muxHeaderLen:], true
}
