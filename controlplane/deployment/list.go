package deployment

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// A list is a JSON array of somebody's. What takes three bytes there, {}, takes hundreds
// in memory, and answers are long: a service that sends nothing else must not bring its
// callers down, nor a caller a service by a request. So an array of more elements than
// could be whole ones is refused.
type list[T any] struct {
	least int // bytes of the shortest element that makes sense
	all   []T
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	switch t, err := d.Token(); {
	case err != nil:
		return err
	case t == nil: // null
		return nil
	case t != json.Delim('['):
		return fmt.Errorf("%v where a list is wanted", t)
	}
	l.all = []T{}
	for most := 1 + len(b)/l.least; d.More(); {
		if len(l.all) == most {
			return fmt.Errorf("more than %d elements in %d bytes", most, len(b))
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		l.all = append(l.all, v)
	}
	return nil
}

// Bytes of the shortest elements of lists, syntax included.
const (
	leastTransport = 200 // an id and two keys
	leastStats     = 40  // an id
	leastService   = 70  // a key
	leastUptime    = 70
)

// UnmarshalJSON implements json.Unmarshaler.
func (r *RegisterRequest) UnmarshalJSON(b []byte) error {
	w := struct {
		Instance
		Entries list[SignedTransport] `json:"entries"`
	}{Entries: list[SignedTransport]{least: leastTransport}}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	r.Instance, r.Entries = w.Instance, w.Entries.all
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *HeartbeatRequest) UnmarshalJSON(b []byte) error {
	w := struct {
		Instance
		Stats list[TransportStats] `json:"stats"`
	}{Stats: list[TransportStats]{least: leastStats}}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	r.Instance, r.Stats = w.Instance, w.Stats.all
	return nil
}

// ParseTransports reads the body by which deployed visors register: an array.
func ParseTransports(b []byte) ([]SignedTransport, error) {
	l := list[SignedTransport]{least: leastTransport}
	err := json.Unmarshal(b, &l)
	return l.all, err
}
