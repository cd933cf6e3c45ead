package dmsgdisc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// prefix is the namespace in the store: dmsg/entry/<66 hex digits>.
const prefix = "dmsg/entry/"

func keyOf(pk cipher.PubKey) string { return prefix + pk.String() }

// pkOf returns the key that a store's key names.
func pkOf(key string) (cipher.PubKey, error) {
	if len(key) < len(prefix) {
		return cipher.PubKey{}, cipher.ErrKeyLength
	}
	return cipher.ParsePubKeyText(key[len(prefix):])
}

// A record is what the store holds for a key: an entry, or the mark that one was
// deleted.
//
// Layout: version 1 | refreshes u8 | origin 8 bytes | removed i64, big-endian |
// entry, as JSON; none for a mark.
type record struct {
	// refreshes counts how often in a row the entry was published again without a
	// change: whoever does that goes on doing it. It stays at refreshing.
	refreshes uint8
	// origin tells the source that published the entry from others.
	origin origin
	// removed is the timestamp up to which entries are not taken any more, in Unix
	// nanoseconds: that of the entry that was deleted.
	removed int64
	raw     []byte // empty for a mark
}

// refreshing is how many unchanged publications make a client one that refreshes.
const refreshing = 2

const recordVersion = 1

// recordHeader is the length of what stands before the entry.
const recordHeader = 1 + 1 + len(origin{}) + 8

func (r *record) encode() []byte {
	b := make([]byte, 0, recordHeader+len(r.raw))
	b = append(b, recordVersion, r.refreshes)
	b = append(b, r.origin[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.removed))
	return append(b, r.raw...)
}

var errRecord = errors.New("dmsgdisc: unknown record in the store")

// decodeRecord reads a record; raw aliases b.
func decodeRecord(b []byte) (record, error) {
	if len(b) < recordHeader || b[0] != recordVersion {
		return record{}, fmt.Errorf("%w: %d bytes", errRecord, len(b))
	}
	r := record{refreshes: b[1], origin: origin(b[2:]), raw: b[recordHeader:]}
	r.removed = int64(binary.BigEndian.Uint64(b[recordHeader-8:]))
	return r, nil
}
