package uptimetracker

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/seat"
)

const (
	// slot is the unit of time that is counted: a visor that calls at least once in
	// it, or just before and after it, was up for all of it.
	slot    = 5 * time.Minute
	daySlot = int64(24 * time.Hour / slot) // slots of a day
	// bridge is the longest pause between two calls of a visor that was up in
	// between: calls come every 5 min, with some jitter.
	bridge = 7 * time.Minute
	// online is for how long a visor counts as up after a call.
	online = 11 * time.Minute
)

// A record is what the store holds of a visor for a month, as JSON.
type record struct {
	seat.Seat
	Days    [31]uint16      `json:"days"` // slots in which it was up, by day of the month
	Last    int64           `json:"last"` // call, Unix seconds
	Version string          `json:"version,omitempty"`
	Geo     *deployment.Geo `json:"geo,omitempty"`
}

func decode(b []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("uptimetracker: record: %w", err)
	}
	return &r, nil
}

// mark notes a call at now, which is in the record's month, and says whether that
// changed what is counted. now may be before the last call where several instances of
// the service have clocks of their own.
func (r *record) mark(now time.Time) bool {
	at, last := slotOf(now.Unix()), slotOf(r.Last)
	if r.Last != 0 && at <= last {
		return false
	}
	first := at
	if r.Last != 0 && now.Sub(time.Unix(r.Last, 0)) <= bridge {
		first = last + 1
	}
	month := now.UTC().Month()
	for s := first; s <= at; s++ {
		if t := time.Unix(s*int64(slot/time.Second), 0).UTC(); t.Month() == month {
			r.Days[t.Day()-1]++
		}
	}
	r.Last = now.Unix()
	return true
}

// slots returns in how many slots of the month the visor was up.
func (r *record) slots() (n int) {
	for _, d := range r.Days {
		n += int(d)
	}
	return n
}

// slotOf returns the number of the slot that a time is in. Days begin with a slot.
func slotOf(unix int64) int64 { return unix / int64(slot/time.Second) }

// isOn says whether the visor is up at now.
func (r *record) isOn(now time.Time) bool { return now.Sub(time.Unix(r.Last, 0)) < online }

// A month is its first moment, in UTC.
type month struct{ time.Time }

func monthOf(t time.Time) month {
	t = t.UTC()
	return month{time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)}
}

const monthForm = "2006-01"

func (m month) String() string { return m.Format(monthForm) }
func (m month) next() month    { return month{m.AddDate(0, 1, 0)} }

// slots returns how many slots of the day that begins at day have begun by now.
func slots(day, now time.Time) int64 {
	return min(max(slotOf(now.Unix())-slotOf(day.Unix())+1, 0), daySlot)
}
