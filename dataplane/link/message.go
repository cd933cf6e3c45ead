package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// errMessage says that a handshake message makes no sense.
var errMessage = errors.New("link: bad handshake message")

// offer is what a side tells in its handshake payload.
type offer struct {
	timestamp uint64       // initiations only
	maxPacket int          // bytes of the largest route packet it takes
	direct    packet.Label // label for direct packets to it
}

func (o offer) append(b []byte) []byte {
	if o.timestamp != 0 {
		b = noise.AppendTLV(b, packet.TLVTimestamp, binary.BigEndian.AppendUint64(nil, o.timestamp))
	}
	b = noise.AppendTLV(b, packet.TLVMaxPacket, binary.BigEndian.AppendUint32(nil, uint32(o.maxPacket)))
	return noise.AppendTLV(b, packet.TLVDirectLabel, binary.BigEndian.AppendUint32(nil, uint32(o.direct)))
}

// parseOffer reads a handshake payload. The largest packet must be one that the
// protocol allows, everything else may be missing.
func parseOffer(b []byte) (o offer, err error) {
	err = noise.WalkTLVs(b, func(typ uint8, v []byte) error {
		switch {
		case typ == packet.TLVTimestamp && len(v) == 8:
			o.timestamp = binary.BigEndian.Uint64(v)
		case typ == packet.TLVMaxPacket && len(v) == 4:
			o.maxPacket = int(min(binary.BigEndian.Uint32(v), packet.MaxRoutePacket))
		case typ == packet.TLVDirectLabel && len(v) == 4:
			o.direct = packet.Label(binary.BigEndian.Uint32(v))
		case typ == packet.TLVTimestamp, typ == packet.TLVMaxPacket, typ == packet.TLVDirectLabel:
			return fmt.Errorf("%w: TLV %d of %d bytes", errMessage, typ, len(v))
		}
		return nil
	})
	if err == nil && o.maxPacket < packet.MinMTU {
		err = fmt.Errorf("%w: largest route packet %d", errMessage, o.maxPacket)
	}
	return o, err
}

// prologue binds protocol, version and carrier into a link handshake.
func prologue(t Type) []byte {
	return append([]byte("skywire-link"), packet.Version, byte(t))
}

// An initiator is our half of a handshake that we started.
type initiator struct {
	hs    *noise.Handshake
	index uint32
	to    netip.AddrPort // where the initiation went
}

// newInitiation builds an initiation to peer and the state that waits for its
// answer. The message has room for the two macs, which the caller fills.
func newInitiation(static *cipher.StaticKey, peer cipher.PubKey, t Type, index uint32, o offer) (*initiator, []byte, error) {
	return newInitiationFrom(nil, static, peer, t, index, o)
}

// newInitiationFrom is newInitiation with the ephemeral key from random; nil is the
// system's source, and anything else belongs in tests.
func newInitiationFrom(
	random io.Reader, static *cipher.StaticKey, peer cipher.PubKey, t Type, index uint32, o offer,
) (*initiator, []byte, error) {
	hs, err := noise.NewHandshake(noise.Config{
		Pattern: noise.IK, Initiator: true, Prologue: prologue(t), Static: static, Peer: peer, Rand: random,
	})
	if err != nil {
		return nil, nil, err
	}
	msg := packet.HandshakeHeader{Type: packet.FrameInitiation, Sender: index}.Append(make([]byte, 0, 256))
	if msg, err = hs.WriteMessage(msg, o.append(nil)); err != nil {
		return nil, nil, err
	}
	return &initiator{hs: hs, index: index}, append(msg, make([]byte, packet.MACsLen)...), nil
}

// finish reads the answer to the initiation.
func (i *initiator) finish(msg []byte) (noise.Keys, offer, error) {
	payload, err := i.hs.ReadMessage(nil, msg[packet.HandshakeHeaderLen:len(msg)-packet.MACsLen])
	if err != nil {
		return noise.Keys{}, offer{}, err
	}
	o, err := parseOffer(payload)
	if err != nil {
		return noise.Keys{}, offer{}, err
	}
	keys, err := i.hs.Keys()
	return keys, o, err
}

// A responder is our half of a handshake that a neighbour started: its first
// message has been read and shows who it claims to be. That it holds the key of
// this very moment is proved only by the first packet under the new keys.
type responder struct {
	hs     *noise.Handshake
	peer   cipher.PubKey
	remote uint32 // the initiator's index
	offer  offer
}

// readInitiation opens an initiation whose header and macs have been checked.
func readInitiation(static *cipher.StaticKey, t Type, msg []byte) (*responder, error) {
	return readInitiationWith(nil, static, t, msg)
}

// readInitiationWith is readInitiation with the ephemeral key of the answer from
// random; see newInitiationFrom.
func readInitiationWith(random io.Reader, static *cipher.StaticKey, t Type, msg []byte) (*responder, error) {
	h, ok := packet.ParseHandshakeHeader(msg)
	if !ok || h.Type != packet.FrameInitiation {
		return nil, errMessage
	}
	hs, err := noise.NewHandshake(noise.Config{Pattern: noise.IK, Prologue: prologue(t), Static: static, Rand: random})
	if err != nil {
		return nil, err
	}
	payload, err := hs.ReadMessage(nil, msg[packet.HandshakeHeaderLen:len(msg)-packet.MACsLen])
	if err != nil {
		return nil, err
	}
	r := &responder{hs: hs, peer: hs.PeerStatic(), remote: h.Sender}
	r.offer, err = parseOffer(payload)
	return r, err
}

// answer builds the response, with room for the two macs, and the keys.
func (r *responder) answer(index uint32, o offer) ([]byte, noise.Keys, error) {
	msg := packet.HandshakeHeader{Type: packet.FrameResponse, Receiver: r.remote, Sender: index}.Append(make([]byte, 0, 256))
	msg, err := r.hs.WriteMessage(msg, o.append(nil))
	if err != nil {
		return nil, noise.Keys{}, err
	}
	keys, err := r.hs.Keys()
	return append(msg, make([]byte, packet.MACsLen)...), keys, err
}
