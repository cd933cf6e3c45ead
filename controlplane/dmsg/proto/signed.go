package proto

import (
	"crypto/sha256"
	"fmt"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Request asks for a stream from Src to Dst.
type Request struct {
	Timestamp int64 // Unix time in nanoseconds, positive
	Src, Dst  Addr
	// IPInfo and GeoInfo ask for the answerer's view of our address. Newer foreign
	// clients may set them; we read and ignore them, and never write them.
	IPInfo, GeoInfo bool
	NoiseMsg        []byte // KK message 1
}

// A Response answers the request whose [Signed.Hash] it names.
type Response struct {
	ReqHash  [32]byte
	Accepted bool
	ErrCode  Code   // why not Accepted
	NoiseMsg []byte // KK message 2 where Accepted
}

// Err returns nil where the response accepts and otherwise why not: see [ErrorOf].
func (r *Response) Err() error {
	if r.Accepted {
		return nil
	}
	return ErrorOf(r.ErrCode)
}

// A Signed is a request or response as it travels: its author's signature, 65
// bytes, then its gob. A relay passes it on byte for byte. Reading methods borrow
// the bytes and what they return aliases none of them.
type Signed []byte

// SignRequest encodes and signs r. The caller owns the result.
func (id *Identity) SignRequest(r *Request) (Signed, error) {
	return id.sign(appendRequest(make(Signed, cipher.SigLen, cipher.SigLen+512), r))
}

// SignResponse encodes and signs r. The caller owns the result.
func (id *Identity) SignResponse(r *Response) (Signed, error) {
	return id.sign(appendResponse(make(Signed, cipher.SigLen, cipher.SigLen+512), r))
}

// sign fills in the signature in front of the gob.
func (id *Identity) sign(s Signed) (Signed, error) {
	sig, err := id.static.Sign(s[cipher.SigLen:])
	if err != nil {
		return nil, fmt.Errorf("dmsg: sign: %w", err)
	}
	copy(s, sig[:])
	return s, nil
}

// Hash returns SHA-256 of the whole object: the Response.ReqHash that answers it.
func (s Signed) Hash() [32]byte { return sha256.Sum256(s) }

// Request decodes s, checks the request's fields and that its source signed it.
// That the source is who it should be is for the caller to say: a relay compares
// Src.PK with the session's key ([ErrReqSrcKey]), a listener Dst.PK with its own
// ([ErrReqDstKey]). Dst.PK is not checked to be a point of the curve; Src.PK is,
// for it has signed.
//
// Errors, in this order: [ErrMalformed], [ErrReqSrcKey], [ErrReqSrcPort],
// [ErrReqDstKey], [ErrReqDstPort], [ErrReqTimestamp], [ErrReqSignature]. About
// 0.12 ms, nearly all for the signature.
func (s Signed) Request() (*Request, error) {
	if len(s) <= cipher.SigLen || len(s) > MaxObject {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(s))
	}
	r, err := decodeRequest(s[cipher.SigLen:])
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: request: %w", ErrMalformed, err)
	case r.Src.PK.IsZero():
		return nil, ErrReqSrcKey
	case r.Src.Port == 0:
		return nil, ErrReqSrcPort
	case r.Dst.PK.IsZero():
		return nil, ErrReqDstKey
	case r.Dst.Port == 0:
		return nil, ErrReqDstPort
	case r.Timestamp <= 0:
		return nil, ErrReqTimestamp
	}
	if err := s.verify(r.Src.PK); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReqSignature, err)
	}
	return r, nil
}

// Response decodes s and checks that it answers the request with that hash and is
// signed by dst, to whom the request went. A refusal is a response too, not an
// error: see [Response.Err]. A relay forwards it.
//
// Errors, in this order: [ErrMalformed], [ErrRespHash], [ErrRespSignature]. About
// 0.12 ms, nearly all for the signature.
func (s Signed) Response(reqHash [32]byte, dst cipher.PubKey) (*Response, error) {
	if len(s) <= cipher.SigLen || len(s) > MaxObject {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(s))
	}
	r, err := decodeResponse(s[cipher.SigLen:])
	if err != nil {
		return nil, fmt.Errorf("%w: response: %w", ErrMalformed, err)
	}
	if r.ReqHash != reqHash {
		return nil, ErrRespHash
	}
	if err := s.verify(dst); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRespSignature, err)
	}
	return r, nil
}

func (s Signed) verify(pk cipher.PubKey) error {
	return cipher.Verify(pk, cipher.Sig(s[:cipher.SigLen]), s[cipher.SigLen:])
}
