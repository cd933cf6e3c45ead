package iperf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Port is where a server listens unless it is told otherwise: that of the program
// whose name people know.
const Port = 5201

// A Direction is the way that the bytes take.
type Direction uint8

// The directions, as seen by the client.
const (
	Up   Direction = 1
	Down Direction = 2
)

// String returns "up" or "down".
func (d Direction) String() string {
	switch d {
	case Up:
		return "up"
	case Down:
		return "down"
	default:
		return fmt.Sprintf("direction %d", uint8(d))
	}
}

const (
	magic     = "skyiperf"
	version   = 1
	helloLen  = 16
	answerLen = 5
	reportLen = 16
	// blockLen is how much a sender writes at once, its length of 4 bytes included;
	// maxBlock what a receiver takes.
	blockLen = 128 << 10
	maxBlock = 1 << 20
	// handshakeTimeout is how long a client has for its hello, and a server for the
	// answer; grace what either may be late by at the end.
	handshakeTimeout = 10 * time.Second
	grace            = 15 * time.Second
)

// What a server makes of a hello.
const (
	statusOK      = 0
	statusVersion = 1
	statusBusy    = 2
	statusLong    = 3
)

// Errors.
var (
	ErrProtocol = errors.New("iperf: the peer does not speak this protocol")
	ErrVersion  = errors.New("iperf: the peer speaks another version")
	ErrBusy     = errors.New("iperf: the server has as many tests as it takes")
	ErrTooLong  = errors.New("iperf: longer than the server allows")
)

// A hello begins a test.
type hello struct {
	dir Direction
	dur time.Duration // whole milliseconds, more than 0
}

func (h hello) append(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, version, byte(h.dir), 0, 0)
	return binary.BigEndian.AppendUint32(b, uint32(min(max(h.dur.Milliseconds(), 1), math.MaxUint32)))
}

// parseHello reads a hello of helloLen bytes.
func parseHello(b []byte) (hello, error) {
	if string(b[:len(magic)]) != magic {
		return hello{}, ErrProtocol
	}
	b = b[len(magic):]
	h := hello{Direction(b[1]), time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Millisecond}
	switch {
	case b[0] != version:
		return hello{}, ErrVersion
	case h.dir != Up && h.dir != Down || b[2] != 0 || b[3] != 0 || h.dur == 0:
		return hello{}, ErrProtocol
	}
	return h, nil
}

// A Report is what went over a stream, and in which time.
type Report struct {
	Bytes    uint64
	Duration time.Duration
}

// Mbps returns the rate in megabits, of a million each, per second.
func (r Report) Mbps() float64 {
	if r.Duration <= 0 {
		return 0
	}
	return float64(r.Bytes) * 8 / 1e6 / r.Duration.Seconds()
}

func (r Report) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Bytes)
	return binary.BigEndian.AppendUint64(b, uint64(r.Duration))
}

func readReport(r io.Reader) (Report, error) {
	var b [reportLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Report{}, fmt.Errorf("iperf: the server's report: %w", err)
	}
	ns := binary.BigEndian.Uint64(b[8:])
	if ns > math.MaxInt64 {
		return Report{}, fmt.Errorf("%w: a test of %d ns", ErrProtocol, ns)
	}
	return Report{binary.BigEndian.Uint64(b[:]), time.Duration(ns)}, nil
}
