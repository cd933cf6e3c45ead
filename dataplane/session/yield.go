package session

import "time"

// A yield says how well a route carries our data, by what the other end's replies say
// has arrived there. One goroutine at a time.
type yield struct {
	at    time.Duration // of the last reply that counted; 0: none yet
	sent  uint64        // data packets before its probe
	came  uint64        // of which so many had arrived
	bytes uint64        // with so many bytes
	loss  float64
	mbps  float64
}

const (
	// lossPackets is how many packets between two replies say something about loss.
	lossPackets = 50
	// rateFade is how long it takes until half of the best rate seen is forgotten: it is
	// to say what the route can do, and idle routes do little.
	rateFade = 2 * time.Minute
)

// update takes the totals of a reply that came at now.
func (y *yield) update(now time.Duration, sent, came, bytes uint64) {
	if y.at == 0 || came < y.came || sent < y.sent || bytes < y.bytes { // or somebody began anew
		*y = yield{at: now, sent: sent, came: came, bytes: bytes, loss: y.loss, mbps: y.mbps}
		return
	}
	took := now - y.at
	if took <= 0 {
		return
	}
	rate := float64(bytes-y.bytes) * 8e3 / float64(took)
	y.mbps = max(rate, y.mbps*max(0, 1-float64(took)/float64(2*rateFade)))
	y.at, y.bytes = now, bytes
	if n := sent - y.sent; n >= lossPackets {
		lost := 1 - min(float64(came-y.came)/float64(n), 1)
		y.loss += (lost - y.loss) / 4
		y.sent, y.came = sent, came
	}
}
