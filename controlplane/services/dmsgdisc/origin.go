package dmsgdisc

import (
	"crypto/sha256"

	"github.com/skyminer/skywire/controlplane/services/httpd"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// An origin is a short hash of an entry's key and of the source that published it.
// It is kept so that a deployed client can delete its entry, and is no address, so
// that the store does not say who lives where at first sight.
type origin [8]byte

func originOf(pk cipher.PubKey, s httpd.Source) origin {
	h := sha256.New()
	h.Write(pk[:])
	h.Write(s[:])
	return origin(h.Sum(nil))
}
