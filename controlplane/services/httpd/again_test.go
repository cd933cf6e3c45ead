package httpd

import (
	"testing"
	"time"
)

// What takes long to make is kept for long, and all else is always made anew.
func TestAgain(t *testing.T) {
	began := time.Unix(1000, 0)
	for took, want := range map[time.Duration]time.Duration{
		0: 0, noticed - 1: 0, noticed: listShare * noticed, 50 * time.Millisecond: time.Second,
	} {
		done := began.Add(took)
		if got := Again(began, done).Sub(done); got != want {
			t.Errorf("%v: %v, want %v", took, got, want)
		}
	}
}
