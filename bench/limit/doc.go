// Package limit is the yardstick: what this machine can carry over one encrypted
// hop with nothing in the way but the kernel and one AEAD each way. Every ratio
// that the project promises has this figure below the line.
//
// The sender seals 44 datagrams of 1400 bytes, each under a nonce of its own, and
// hands them to the kernel as one UDP_SEGMENT send. The receiver takes them in
// UDP_GRO buffers and opens each. Both are one goroutine in a process of its own.
//
//	0         8                                1384   1400
//	| counter | sealed, 1376 bytes             | tag 16 |
//
// The package imports only golang.org/x/sys, golang.org/x/crypto and the standard
// library, so that nothing of ours can make it slower. Linux only.
package limit

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// PayloadBytes is the UDP payload of every datagram, counter and tag included.
	PayloadBytes = 1400
	// BatchPackets is the number of datagrams per GSO send.
	BatchPackets = 44
	// SocketBufferBytes is forced as send and receive buffer.
	SocketBufferBytes = 16 << 20

	counterBytes = 8
)

// A Config describes one run to both processes.
type Config struct {
	Addr    string  `json:"addr"`    // of the receiver, host:port
	Key     []byte  `json:"key"`     // 32 bytes, same at both ends
	Seconds float64 `json:"seconds"` // how long the sender sends
}

// Totals is what one side counted, and what it cost.
type Totals struct {
	Bytes      int64   `json:"bytes"`       // UDP payload, tag included
	Packets    int64   `json:"packets"`     // datagrams
	Calls      int64   `json:"calls"`       // system calls that carried data
	Bad        int64   `json:"bad"`         // datagrams that did not open, or sends that failed
	Seconds    float64 `json:"seconds"`     // first to last datagram
	CPUSeconds float64 `json:"cpu_seconds"` // user and system time of the process meanwhile
}

// Gbps returns the rate in Gbit/s.
func (t Totals) Gbps() float64 {
	if t.Seconds <= 0 {
		return 0
	}
	return float64(t.Bytes) * 8 / 1e9 / t.Seconds
}

// CPUPerGB returns CPU seconds per 10^9 bytes.
func (t Totals) CPUPerGB() float64 {
	if t.Bytes == 0 {
		return 0
	}
	return t.CPUSeconds / (float64(t.Bytes) / 1e9)
}

// Loss returns the share of tx's datagrams that rx did not get, 0 to 1.
func Loss(tx, rx Totals) float64 {
	if tx.Packets == 0 {
		return 0
	}
	return 1 - float64(rx.Packets)/float64(tx.Packets)
}

// A sealer seals and opens datagrams in place; it holds the nonce scratch so that
// nothing is allocated per packet. One goroutine owns it.
type sealer struct {
	aead  cipher.AEAD
	nonce [chacha20poly1305.NonceSize]byte
}

func newSealer(key []byte) (*sealer, error) {
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, fmt.Errorf("limit: key: %w", err)
	}
	return &sealer{aead: aead}, nil
}

// seal turns pkt, whose plaintext stands between counter and tag, into a datagram.
func (s *sealer) seal(pkt []byte, counter uint64) {
	binary.BigEndian.PutUint64(pkt, counter)
	binary.LittleEndian.PutUint64(s.nonce[4:], counter)
	body := pkt[counterBytes : len(pkt)-chacha20poly1305.Overhead]
	s.aead.Seal(body[:0], s.nonce[:], body, nil)
}

// open checks pkt and decrypts it in place.
func (s *sealer) open(pkt []byte) bool {
	if len(pkt) < counterBytes+chacha20poly1305.Overhead {
		return false
	}
	binary.LittleEndian.PutUint64(s.nonce[4:], binary.BigEndian.Uint64(pkt))
	body := pkt[counterBytes:]
	_, err := s.aead.Open(body[:0], s.nonce[:], body, nil)
	return err == nil
}
