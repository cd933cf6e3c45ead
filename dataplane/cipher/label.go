package cipher

import (
	"encoding/base32"
	"fmt"
	"strings"
)

// LabelLen is the length of a key as a DNS label: 33 bytes are 264 bits, 53
// characters of 5 bits. The 66 hex digits would not fit the 63 octets of a label
// (RFC 1035, section 2.3.4).
const LabelLen = 53

// labelAlphabet is RFC 4648's base32 in lower case.
const labelAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// Label returns pk as a DNS label: unpadded base32 in lower case.
func (pk PubKey) Label() string {
	return labelEncoding().EncodeToString(pk[:])
}

// ParseLabel reads a DNS label; case does not matter (RFC 4343). The last
// character carries one bit of padding, which must be zero, so that each key has
// one label.
//
// Errors: [ErrKeyLength], [ErrKeyText], and those of [ParsePubKey].
func ParseLabel(s string) (PubKey, error) {
	if len(s) != LabelLen {
		return PubKey{}, fmt.Errorf("%w: %d characters, want %d", ErrKeyLength, len(s), LabelLen)
	}
	s = strings.ToLower(s)
	b, err := labelEncoding().DecodeString(s)
	// The decoder drops line ends and ignores padding bits: compare to refuse both.
	if err != nil || len(b) != PubKeyLen || PubKey(b).Label() != s {
		return PubKey{}, ErrKeyText
	}
	return ParsePubKey(b)
}

func labelEncoding() *base32.Encoding {
	return base32.NewEncoding(labelAlphabet).WithPadding(base32.NoPadding)
}
