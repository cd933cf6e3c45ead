package dmsg

import (
	"fmt"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// An EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	EventUp        EventKind = iota + 1 // a session with Server began
	EventDown                           // the session with Server ended because of Err
	EventDrain                          // Server asked its clients to move elsewhere
	EventMoved                          // Server took the place of From, which may be itself
	EventPublished                      // the own entry is in the discovery
	EventHidden                         // the discovery did not take the own entry because of Err; repeated only after an EventPublished
)

// An Event is something that a daemon may want to tell its user.
type Event struct {
	Kind   EventKind
	Time   time.Time
	Server cipher.PubKey // the relay it is about
	Addr   string        // its address
	From   cipher.PubKey // the relay that was left, of EventMoved
	Err    error         // why
}

// String describes e in a line.
func (e Event) String() string {
	switch e.Kind {
	case EventUp:
		return fmt.Sprintf("connected to relay %s at %s", e.Server, e.Addr)
	case EventDown:
		return fmt.Sprintf("lost relay %s at %s: %v", e.Server, e.Addr, e.Err)
	case EventDrain:
		return fmt.Sprintf("relay %s at %s asks its clients to move", e.Server, e.Addr)
	case EventMoved:
		if e.From == e.Server {
			return fmt.Sprintf("back at relay %s at %s", e.Server, e.Addr)
		}
		return fmt.Sprintf("moved from relay %s to relay %s at %s", e.From, e.Server, e.Addr)
	case EventPublished:
		return "entry is in the discovery"
	case EventHidden:
		return fmt.Sprintf("entry is not in the discovery: %v", e.Err)
	default:
		return fmt.Sprintf("event %d", e.Kind)
	}
}

// maxEvents bounds the events that wait for a slow listener; the oldest go first.
const maxEvents = 256

// events hands Events to a function, one at a time and never from a goroutine that
// has something else to do.
type events struct {
	to    func(Event)       // nil: nobody listens
	start func(func()) bool // runs a goroutine; false: the client is closed

	mu      sync.Mutex
	waiting []Event
	busy    bool // a goroutine is handing out
}

// post queues e.
func (q *events) post(e Event) {
	if q.to == nil {
		return
	}
	e.Time = time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == maxEvents {
		q.waiting = q.waiting[1:]
	}
	q.waiting = append(q.waiting, e)
	if !q.busy {
		q.busy = q.start(q.deliver)
	}
}

// deliver hands out what waits, and ends.
func (q *events) deliver() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		e := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		q.to(e)
	}
}
