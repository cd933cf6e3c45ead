package deployment

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// A list is a JSON array in an answer. What takes three bytes there, {}, takes hundreds
// in memory, and answers are long: a service that sends nothing else must not bring its
// callers down. So an array of more elements than could be whole ones is refused.
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
	leastService   = 70  // a key
	leastUptime    = 70
)
