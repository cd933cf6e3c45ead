package transport

import (
	"context"
	"errors"
	"runtime"
	"testing"
)

// Where the system tells of changes it stops to do so with the context; TestMain sees what
// is left behind.
func TestSubscribe(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := subscribe(ctx, make(chan struct{}, 1))
	if linux := runtime.GOOS == "linux"; linux && err != nil || !linux && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("subscribe: %v", err)
	}
	if a, b := fingerprint(), fingerprint(); a != b {
		t.Errorf("nothing has changed:\n%s\n\n%s", a, b)
	}
}
