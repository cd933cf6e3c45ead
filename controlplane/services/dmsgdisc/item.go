package dmsgdisc

import (
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// An item is one entry, ready to be sent. It is frozen once the mirror has it.
type item struct {
	pk        cipher.PubKey
	version   uint64    // of the store
	expires   time.Time // zero: never
	raw       []byte    // JSON; empty where the entry was deleted
	etag      []byte    // quoted
	delegated []cipher.PubKey
	available int
	client    bool
	visor     bool
	server    bool
}

// newItem makes an item of a parsed entry, nil for a deleted one.
func newItem(pk cipher.PubKey, e *disc.Entry, version uint64, expires time.Time) *item {
	it := &item{pk: pk, version: version, expires: expires}
	if e == nil {
		return it
	}
	it.raw, it.etag = e.Raw(), httpd.ETag(e.Raw())
	if e.Client != nil {
		it.client, it.visor = true, e.ClientType == disc.ClientVisor
		it.delegated = e.Client.DelegatedServers
	}
	if e.Server != nil {
		it.server, it.available = true, e.Server.AvailableSessions
	}
	return it
}

// visible says whether the entry is given out at the time now.
func (it *item) visible(now time.Time) bool {
	return len(it.raw) > 0 && it.lives(now)
}

// lives says whether the item is still of use at the time now.
func (it *item) lives(now time.Time) bool { return it.expires.IsZero() || now.Before(it.expires) }
