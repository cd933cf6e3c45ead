package session

import (
	"testing"
	"time"
)

// TestLaneComesBack: what is known of a route holds for a while after its link is gone. It
// was forgotten at once where a sender noticed that before the ticker.
func TestLaneComesBack(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		gone time.Duration
		kept bool
	}{{laneForget / 2, true}, {2 * laneForget, false}} {
		b := newBare(t)
		y, l, now := newSpray(b.s), &lane{r: b.sealed}, time.Hour
		l.back(now, 20*ms)
		l.srtt = 30 * ms // a report has come
		y.queue.push(now, tcpHeader(0, 0), [][]byte{{1}}, 1, queueLeast)
		y.send(nil, nil, l, now) // there is no link
		if l.usable {
			t.Fatal("a route without a link is used")
		}
		l.lose(now + 100*ms) // the ticker
		l.back(now+tt.gone, 20*ms)
		if kept := l.srtt != 0; !l.usable || kept != tt.kept {
			t.Errorf("back after %v: usable %v, known %v, want it known %v", tt.gone, l.usable, kept, tt.kept)
		}
	}
}
