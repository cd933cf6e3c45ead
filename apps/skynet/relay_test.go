package skynet

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

// TestCause: the reason stays, addresses go, and programs still find what it was.
func TestCause(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "skynet", Addr: &net.TCPAddr{Port: 80}, Err: syscall.ECONNRESET}
	for _, err := range []error{reset, fmt.Errorf("around: %w", reset)} {
		got := cause(err)
		if got.Error() != "read skynet: connection reset by peer" || !errors.Is(got, syscall.ECONNRESET) {
			t.Errorf("cause(%v) = %v", err, got)
		}
	}
	if plain := errors.New("plain"); cause(plain) != plain {
		t.Errorf("cause(plain) = %v", cause(plain))
	}
}
