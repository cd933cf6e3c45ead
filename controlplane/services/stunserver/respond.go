package stunserver

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun"
)

// Flags of CHANGE-REQUEST (RFC 5780, section 7.2).
const (
	changeIP   = 0x04
	changePort = 0x02
)

// attrPadding is PADDING, which grows a request and may be ignored in it (RFC 5780,
// section 7.6).
const attrPadding stun.AttrType = 0x0026

// A responder makes replies. Its memory is used again for each; it belongs to one
// goroutine.
type responder struct{ in, out stun.Message }

// respond returns the reply to the datagram b, valid until the next call, and
// whether it goes out by the other port; nil where b gets none. at is where b
// arrived and other the address with the second port.
func (r *responder) respond(b []byte, from, at, other netip.AddrPort) (reply []byte, byOther bool) {
	if !stun.IsMessage(b) {
		return nil, false
	}
	r.in.Reset()
	r.in.Raw = append(r.in.Raw[:0], b...)
	if err := r.in.Decode(); err != nil || r.in.Type != stun.BindingRequest {
		return nil, false
	}
	unknown, flags := r.demands()
	if len(unknown) > 0 {
		return r.refuse(unknown), false
	}
	origin := at
	if byOther = flags&changePort != 0; byOther {
		origin = other
	}
	r.begin(stun.BindingSuccess)
	xor := stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}
	_ = xor.AddTo(&r.out) // fails for what is no IP address only
	addAddress(&r.out, stun.AttrResponseOrigin, origin)
	addAddress(&r.out, stun.AttrOtherAddress, other)
	r.out.Encode()
	return r.out.Raw, byOther
}

// demands returns the attributes that must be understood and are not (RFC 8489,
// section 6.3.1), at most 8 of them, and the flags of CHANGE-REQUEST. Another address
// is a demand that cannot be met.
func (r *responder) demands() (unknown []stun.AttrType, flags byte) {
	for _, a := range r.in.Attributes {
		switch {
		case a.Type == stun.AttrChangeRequest && len(a.Value) == 4 && a.Value[3]&changeIP == 0:
			flags = a.Value[3]
		case a.Type == attrPadding, a.Type >= 0x8000:
		case len(unknown) < 8:
			unknown = append(unknown, a.Type)
		}
	}
	return unknown, flags
}

// begin starts a reply to what was read.
func (r *responder) begin(t stun.MessageType) {
	r.out.Reset()
	r.out.TransactionID = r.in.TransactionID
	r.out.SetType(t)
	r.out.WriteHeader()
}

// refuse returns the error 420 with the attributes that were not understood.
func (r *responder) refuse(unknown []stun.AttrType) []byte {
	r.begin(stun.BindingError)
	_ = stun.CodeUnknownAttribute.AddTo(&r.out) // it has a reason, so this does not fail
	// By hand: the library's UnknownAttributes writes each in 4 bytes, not in the 2 of
	// RFC 8489, section 14.13.
	var b []byte
	for _, t := range unknown {
		b = binary.BigEndian.AppendUint16(b, uint16(t))
	}
	r.out.Add(stun.AttrUnknownAttributes, b)
	r.out.Encode()
	return r.out.Raw
}

// addAddress adds an address as MAPPED-ADDRESS has it (RFC 8489, section 14.1):
// 0 | family | port | address.
func addAddress(m *stun.Message, t stun.AttrType, a netip.AddrPort) {
	var b [20]byte
	ip := a.Addr().Unmap().AsSlice()
	b[1] = 1
	if len(ip) == 16 {
		b[1] = 2
	}
	binary.BigEndian.PutUint16(b[2:], a.Port())
	m.Add(t, b[:4+copy(b[4:], ip)])
}
