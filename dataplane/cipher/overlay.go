package cipher

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// OverlayAddr returns the IPv6 address that stands for pk inside hosts: fd, then
// the first 15 bytes of SHA-256(pk) (the fd00::/8 of RFC 4193, section 3.1).
// 120 bits can be searched for collisions, so it is never a trust anchor.
func (pk PubKey) OverlayAddr() netip.Addr { return overlay(0xfd, pk[:]) }

// ClassAddr returns the IPv6 address that stands, inside this process, for pk over the
// routes of one class: OverlayAddr for class 0, else fc and the first 15 bytes of
// SHA-256(pk ‖ class u32, big-endian). No network is ever asked for it.
func (pk PubKey) ClassAddr(class uint32) netip.Addr {
	if class == 0 {
		return pk.OverlayAddr()
	}
	var b [PubKeyLen + 4]byte
	binary.BigEndian.PutUint32(b[copy(b[:], pk[:]):], class)
	return overlay(0xfc, b[:])
}

func overlay(first byte, of []byte) netip.Addr {
	sum := sha256.Sum256(of)
	a := [16]byte{first}
	copy(a[1:], sum[:])
	return netip.AddrFrom16(a)
}
