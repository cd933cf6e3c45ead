package yamux

import (
	"sync"
	"time"
)

// A deadline expires a wait on cond. cond.L guards it.
type deadline struct {
	cond    *sync.Cond
	expired bool
	at      time.Time   // zero: never
	timer   *time.Timer // kept once made; may fire for a deadline that has moved
}

// set moves the deadline to t; the zero time means never. One in the past expires
// waits at once, one in the future revives what had expired.
func (d *deadline) set(t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.expired = t, false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		d.cond.Broadcast()
		return
	}
	d.at = time.Now().Add(left) // with a monotonic reading, whatever t had
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.fire)
	} else {
		d.timer.Reset(left)
	}
}

func (d *deadline) fire() {
	d.cond.L.Lock()
	defer d.cond.L.Unlock()
	if !d.at.IsZero() && !time.Now().Before(d.at) {
		d.expired = true
		d.cond.Broadcast()
	}
}

// stop ends the timer.
func (d *deadline) stop() {
	d.at = time.Time{}
	if d.timer != nil {
		d.timer.Stop()
	}
}
