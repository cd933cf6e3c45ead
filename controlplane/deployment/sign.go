package deployment

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// Headers of signed requests.
const (
	HeaderKey   = "SW-Public" // the caller's key, 66 hex digits
	HeaderTime  = "Sky-Time"  // Unix milliseconds, decimal
	HeaderNonce = "Sky-Nonce" // NonceLen random bytes, hex
	HeaderSig   = "Sky-Sig"   // signature over RequestDigest; of the body where it is an answer
)

// NonceLen is the length of a nonce in bytes.
const NonceLen = 16

// RequestDigest returns what the signature of a request covers: SHA-256 of
//
//	skywire-request-v1 LF method LF host LF path?query LF time LF nonce LF hex(SHA-256(body))
//
// host is the Host header and uri the request target, both as they are sent; nonce
// is the header's text. body is borrowed.
func RequestDigest(method, host, uri string, unixMS int64, nonce string, body []byte) [32]byte {
	sum := sha256.Sum256(body)
	b := make([]byte, 0, 256)
	b = append(b, "skywire-request-v1\n"...)
	b = append(append(b, method...), '\n')
	b = append(append(b, host...), '\n')
	b = append(append(b, uri...), '\n')
	b = append(strconv.AppendInt(b, unixMS, 10), '\n')
	b = append(append(b, nonce...), '\n')
	return sha256.Sum256(hex.AppendEncode(b, sum[:]))
}
