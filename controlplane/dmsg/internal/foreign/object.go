package foreign

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Key is a public key that gob sends as the 33 bytes of a binary marshaller.
type Key cipher.PubKey

// MarshalBinary returns the compressed point.
func (k Key) MarshalBinary() ([]byte, error) { return k[:], nil }

// UnmarshalBinary takes a compressed point.
func (k *Key) UnmarshalBinary(b []byte) error {
	pk, err := cipher.ParsePubKey(b)
	*k = Key(pk)
	return err
}

// Addr is a key and a port.
type Addr struct {
	PK   Key
	Port uint16
}

// StreamRequest asks for a stream.
type StreamRequest struct {
	Timestamp int64
	SrcAddr   Addr
	DstAddr   Addr
	NoiseMsg  []byte
}

// NewerRequest is the request of the newer deployed software: two fields more.
type NewerRequest struct {
	Timestamp int64
	SrcAddr   Addr
	DstAddr   Addr
	IPinfo    bool
	GeoInfo   bool
	NoiseMsg  []byte
}

// StreamResponse answers one.
type StreamResponse struct {
	ReqHash  [32]byte
	Accepted bool
	ErrCode  uint16
	NoiseMsg []byte
}

func signObject(v any, sk cipher.SecKey) ([]byte, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		return nil, err
	}
	sig, err := cipher.Sign(sk, b.Bytes())
	if err != nil {
		return nil, err
	}
	return append(sig[:], b.Bytes()...), nil
}

// splitObject decodes a signed object into v; what its author is comes out of v,
// so the signature is checked by the caller, with verifyObject.
func splitObject(obj []byte, v any) error {
	if len(obj) <= cipher.SigLen {
		return errors.New("foreign: signed object too short (370)")
	}
	return gob.NewDecoder(bytes.NewReader(obj[cipher.SigLen:])).Decode(v)
}

func verifyObject(obj []byte, author Key) error {
	return cipher.Verify(cipher.PubKey(author), cipher.Sig(obj[:cipher.SigLen]), obj[cipher.SigLen:])
}

// checkRequest makes the checks of the deployed software in their order.
func checkRequest(obj []byte) (StreamRequest, error) {
	var r StreamRequest
	if err := splitObject(obj, &r); err != nil {
		return r, err
	}
	switch {
	case r.SrcAddr.PK == Key{}:
		return r, errors.New("foreign: 302")
	case r.SrcAddr.Port == 0:
		return r, errors.New("foreign: 304")
	case r.DstAddr.PK == Key{}:
		return r, errors.New("foreign: 303")
	case r.DstAddr.Port == 0:
		return r, errors.New("foreign: 305")
	case r.Timestamp <= 0:
		return r, errors.New("foreign: 301")
	}
	return r, verifyObject(obj, r.SrcAddr.PK)
}

// A RefusedError is a signed refusal with its code.
type RefusedError uint16

func (e RefusedError) Error() string { return fmt.Sprintf("foreign: refused with code %d", uint16(e)) }

// checkResponse checks an answer to the signed request req, which went to dst. A
// refusal is a RefusedError beside the response.
func checkResponse(obj, req []byte, dst Key) (StreamResponse, error) {
	var r StreamResponse
	if err := splitObject(obj, &r); err != nil {
		return r, err
	}
	if r.ReqHash != sha256.Sum256(req) {
		return r, errors.New("foreign: 351")
	}
	if err := verifyObject(obj, dst); err != nil {
		return r, err
	}
	if !r.Accepted {
		return r, RefusedError(r.ErrCode)
	}
	return r, nil
}
