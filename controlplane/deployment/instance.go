package deployment

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// An Instance is one run of a visor. Two that are alive at once under one key are two
// machines with the same key, which services refuse: of the two the one that was
// started later stays.
type Instance struct {
	ID      string `json:"instance"` // 16 hex digits, random
	Started int64  `json:"started"`  // Unix milliseconds, by the visor's clock
}

// NewInstance returns a new instance, started at now.
func NewInstance(now time.Time) Instance {
	var b [8]byte
	rand.Read(b[:])
	return Instance{ID: hex.EncodeToString(b[:]), Started: now.UnixMilli()}
}
