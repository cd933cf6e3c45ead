package udpio

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A control message (cmsg(3)) is
//
//	length (size_t, header included) | level int32 | type int32 | data
//
// and the next one begins at a multiple of the size of a pointer.
const (
	cmsgHeader = unix.SizeofCmsghdr
	cmsgAlign  = unix.SizeofPtr

	// cmsgSpace has room for one message of up to 8 bytes, which is all that is
	// asked of the kernel: UDP_SEGMENT (uint16) out, UDP_GRO (int) in.
	cmsgSpace = cmsgHeader + 8
)

// groSize returns the value of the UDP_GRO message in b, the size in bytes of the
// datagrams that the kernel put together, or 0 if there is none.
func groSize(b []byte) int {
	for len(b) >= cmsgHeader {
		n := cmsgLen(b)
		if n < cmsgHeader || n > uint64(len(b)) {
			return 0
		}
		level := binary.NativeEndian.Uint32(b[cmsgHeader-8:])
		typ := binary.NativeEndian.Uint32(b[cmsgHeader-4:])
		if level == unix.SOL_UDP && typ == unix.UDP_GRO && n >= cmsgHeader+4 {
			return int(int32(binary.NativeEndian.Uint32(b[cmsgHeader:])))
		}
		next := (n + cmsgAlign - 1) &^ (cmsgAlign - 1)
		b = b[min(next, uint64(len(b))):]
	}
	return 0
}

// cmsgLen reads the length field of a control message.
func cmsgLen(b []byte) uint64 {
	if unix.SizeofPtr == 8 {
		return binary.NativeEndian.Uint64(b)
	}
	return uint64(binary.NativeEndian.Uint32(b))
}

// putSegmentHeader writes the part of a UDP_SEGMENT message that never changes.
func putSegmentHeader(b *[cmsgSpace]byte) {
	if unix.SizeofPtr == 8 {
		binary.NativeEndian.PutUint64(b[:], cmsgHeader+2)
	} else {
		binary.NativeEndian.PutUint32(b[:], cmsgHeader+2)
	}
	binary.NativeEndian.PutUint32(b[cmsgHeader-8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(b[cmsgHeader-4:], unix.UDP_SEGMENT)
}

// putSegmentSize writes the size of the datagrams in bytes, which fits 16 bits
// because a run of more than one is at most MaxSendBytes.
func putSegmentSize(b *[cmsgSpace]byte, seg int) {
	binary.NativeEndian.PutUint16(b[cmsgHeader:], uint16(seg))
}
