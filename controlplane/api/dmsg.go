package api

import (
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Dmsg is a visor's presence in a dmsg network, where any key reaches any other by
// way of relays.
type Dmsg struct {
	Discovery string `json:"discovery"` // where relays and keys are looked up; "" where the relays are given
	// Reachable says whether others can reach the visor there: it has a relay, and the
	// discovery knows about it.
	Reachable bool    `json:"reachable"`
	Relays    []Relay `json:"relays"` // to which it is connected, the oldest first
	LastError string  `json:"last_error"`
}

// Relay is a relay to which a visor is connected.
type Relay struct {
	PK        cipher.PubKey `json:"pk"`
	Addr      string        `json:"addr"` // host:port
	Since     time.Time     `json:"since"`
	RTTMicros int64         `json:"rtt_us"`   // 0 is not known
	Streams   int           `json:"streams"`  // open ones
	Draining  bool          `json:"draining"` // it is about to stop and takes no new streams
}
