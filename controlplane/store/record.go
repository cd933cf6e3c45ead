package store

import (
	"encoding/binary"
	"time"
)

// A record is what both kinds of store keep under a key: version u64 ‖ expires u64
// (Unix ms, 0: never), big endian, ‖ value.
const recordHeader = 16

// putRecord writes the header of a record into rec.
func putRecord(rec []byte, version uint64, expires int64) {
	binary.BigEndian.PutUint64(rec, version)
	binary.BigEndian.PutUint64(rec[8:], uint64(expires))
}

// readRecord returns what is in the header of rec: zeros where rec is too short to
// be a record.
func readRecord(rec []byte) (version uint64, expires int64) {
	if len(rec) < recordHeader {
		return 0, 0
	}
	return binary.BigEndian.Uint64(rec), int64(binary.BigEndian.Uint64(rec[8:]))
}

// past says whether an item that expires at the given ms has expired.
func past(expires, now int64) bool { return expires != 0 && expires <= now }

// load sets all of it but the key from a record, which it copies; Version is 0 if
// there is none or if it has expired.
func (it *Item) load(rec []byte, now int64) {
	version, expires := readRecord(rec)
	*it = Item{Key: it.Key}
	if version == 0 || past(expires, now) {
		return
	}
	it.Version, it.Value = version, append([]byte{}, rec[recordHeader:]...)
	if expires != 0 {
		it.Expires = time.UnixMilli(expires)
	}
}
