package conf

import (
	"fmt"
	"time"
)

// A Duration is a time.Duration that is written as text: 90s, 2m, 1h30m.
type Duration time.Duration

// String returns the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("is %q; want a time as in 90s, 2m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}
