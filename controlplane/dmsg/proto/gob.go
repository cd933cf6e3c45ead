package proto

import (
	"bytes"
	"fmt"
	"math"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// What encoding/gob of the deployed software's types begins with: the definitions,
// a message each. Numbers in front of names are lengths and counts, see gobtype.go.
const (
	requestTypes = "\x4f\x7f\x03\x01\x01\x0dStreamRequest\x01\xff\x80\x00\x01\x04" + // 64, a struct of 4 fields
		"\x01\x09Timestamp\x01\x04\x00" + // an int
		"\x01\x07SrcAddr\x01\xff\x82\x00" + // 65
		"\x01\x07DstAddr\x01\xff\x82\x00" +
		"\x01\x08NoiseMsg\x01\x0a\x00\x00\x00" + // bytes
		"\x23\xff\x81\x03\x01\x01\x04Addr\x01\xff\x82\x00\x01\x02" + // 65, a struct of 2
		"\x01\x02PK\x01\xff\x84\x00" + // 66
		"\x01\x04Port\x01\x06\x00\x00\x00" + // a uint
		"\x12\xff\x83\x06\x01\x01\x06PubKey\x01\xff\x84\x00\x00\x00" // 66, by MarshalBinary
	requestType = 64

	responseTypes = "\x4f\xff\x85\x03\x01\x01\x0eStreamResponse\x01\xff\x86\x00\x01\x04" + // 67, a struct of 4
		"\x01\x07ReqHash\x01\xff\x88\x00" + // 68
		"\x01\x08Accepted\x01\x02\x00" + // a bool
		"\x01\x07ErrCode\x01\x06\x00" + // a uint
		"\x01\x08NoiseMsg\x01\x0a\x00\x00\x00" +
		"\x16\xff\x87\x01\x01\x01\x06SHA256\x01\xff\x88\x00\x01\x06\x01\x40\x00\x00" // 68, an array of 32 uints
	responseType = 67
)

// appendRequest appends the gob of r to dst.
func appendRequest(dst []byte, r *Request) []byte {
	var w gobWriter
	w.int(requestType)
	w.begin()
	if r.Timestamp != 0 {
		w.field(0)
		w.int(r.Timestamp)
	}
	w.addr(1, r.Src)
	w.addr(2, r.Dst)
	w.bytes(3, r.NoiseMsg)
	w.end()
	return w.appendTo(append(dst, requestTypes...))
}

// appendResponse appends the gob of r to dst.
func appendResponse(dst []byte, r *Response) []byte {
	var w gobWriter
	w.int(responseType)
	w.begin()
	w.field(0)
	w.uint(uint64(len(r.ReqHash)))
	for _, c := range r.ReqHash {
		w.uint(uint64(c))
	}
	if r.Accepted {
		w.field(1)
		w.uint(1)
	}
	if r.ErrCode != 0 {
		w.field(2)
		w.uint(uint64(r.ErrCode))
	}
	w.bytes(3, r.NoiseMsg)
	w.end()
	return w.appendTo(append(dst, responseTypes...))
}

// decodeRequest reads a gob with fields of a request. Others are skipped, missing
// ones stay zero.
func decodeRequest(b []byte) (*Request, error) {
	r, fields := openGob(b)
	req := &Request{}
	for i, ok := r.field(-1, len(fields)); ok; i, ok = r.field(i, len(fields)) {
		switch f := fields[i]; string(f.name) {
		case "Timestamp":
			if r.expect(f.id == gobInt, f.name) {
				req.Timestamp = r.int()
			}
		case "SrcAddr":
			r.addr(f, &req.Src)
		case "DstAddr":
			r.addr(f, &req.Dst)
		case "IPinfo":
			req.IPInfo = r.bool(f)
		case "GeoInfo":
			req.GeoInfo = r.bool(f)
		case "NoiseMsg":
			req.NoiseMsg = r.bytes(f)
		default:
			r.skip(f.id, 1)
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	return req, nil
}

// decodeResponse reads a gob with fields of a response. Newer foreign software
// sends more; they are skipped.
func decodeResponse(b []byte) (*Response, error) {
	r, fields := openGob(b)
	resp := &Response{}
	for i, ok := r.field(-1, len(fields)); ok; i, ok = r.field(i, len(fields)) {
		switch f := fields[i]; string(f.name) {
		case "ReqHash":
			resp.ReqHash = r.hash(f)
		case "Accepted":
			resp.Accepted = r.bool(f)
		case "ErrCode":
			resp.ErrCode = Code(r.uint16(f))
		case "NoiseMsg":
			resp.NoiseMsg = r.bytes(f)
		default:
			r.skip(f.id, 1)
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	return resp, nil
}

func (r *gobReader) bool(f gobField) bool {
	return r.expect(f.id == gobBool, f.name) && r.uint() != 0
}

func (r *gobReader) uint16(f gobField) uint16 {
	if !r.expect(f.id == gobUint, f.name) {
		return 0
	}
	u := r.uint()
	if u > math.MaxUint16 {
		r.fail(errGobNumber)
		return 0
	}
	return uint16(u)
}

// bytes returns a copy.
func (r *gobReader) bytes(f gobField) []byte {
	if !r.expect(f.id == gobBytes, f.name) {
		return nil
	}
	return bytes.Clone(r.take())
}

func (r *gobReader) addr(f gobField, a *Addr) {
	t := r.types.find(f.id)
	if !r.expect(t != nil && t.kind == gobStruct, f.name) {
		return
	}
	for i, ok := r.field(-1, len(t.fields)); ok; i, ok = r.field(i, len(t.fields)) {
		switch f := t.fields[i]; string(f.name) {
		case "PK":
			a.PK = r.pubKey(f)
		case "Port":
			a.Port = r.uint16(f)
		default:
			r.skip(f.id, 2)
		}
	}
}

// pubKey reads a key's 33 bytes. Whether they are a point of the curve is for those
// who calculate with it: see [Signed.Request].
func (r *gobReader) pubKey(f gobField) cipher.PubKey {
	t := r.types.find(f.id)
	if !r.expect(t != nil && t.kind == gobBinary, f.name) {
		return cipher.PubKey{}
	}
	b := r.take()
	if len(b) != cipher.PubKeyLen {
		r.fail(fmt.Errorf("%w: a key of %d bytes", errGobNumber, len(b)))
		return cipher.PubKey{}
	}
	return cipher.PubKey(b)
}

// hash reads an array of 32 numbers.
func (r *gobReader) hash(f gobField) (h [32]byte) {
	t := r.types.find(f.id)
	if !r.expect(t != nil && t.kind == gobArray && t.elem == gobUint, f.name) {
		return h
	}
	if r.uint() != 32 {
		r.fail(errGobNumber)
	}
	for i := range h {
		u := r.uint()
		if u > math.MaxUint8 {
			r.fail(errGobNumber)
		}
		h[i] = byte(u)
	}
	return h
}
