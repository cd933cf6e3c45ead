package udpio

import "encoding/binary"

const (
	// firstDataType is the lowest first byte of a datagram that carries a
	// receiver index: below stand STUN (0 to 3), DTLS and TURN channels
	// (RFC 7983, section 7), which all go to worker 0.
	firstDataType = 0x50

	// indexOffset is where the receiver index starts, 32 bits in network byte
	// order, and indexEnd where it ends.
	indexOffset = 4
	indexEnd    = indexOffset + 4

	// ownerMask are the bits of the receiver index that name its worker.
	ownerMask = MaxWorkers - 1
)

// Owner returns the worker, 0 to workers-1, that owns the receiver index: its
// low four bits, or 0 if there is no such worker. Choose receiver indices by it.
func Owner(index uint32, workers int) int {
	if w := int(index & ownerMask); w < workers {
		return w
	}
	return 0
}

// Steer returns the worker that a datagram belongs to. The kernel runs the same
// rule on the first datagram of what becomes a superpacket, so the others inside
// may be strays: check each one. The payload is borrowed.
func Steer(payload []byte, workers int) int {
	if len(payload) < indexEnd || payload[0] < firstDataType {
		return 0
	}
	return Owner(binary.BigEndian.Uint32(payload[indexOffset:]), workers)
}
