package netstack

import (
	"io"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// TestRackSwitch loses a whole window, as where a relay dies. Two segments went with each
// timeout after that; a window of this size took some forty.
func TestRackSwitch(t *testing.T) {
	p := newPair(t, fault{delay: 2 * time.Millisecond, bytesPerSec: 50e6, queue: 1 << 20})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	if c.rack.mode == nil || *c.rack.mode != tcpip.TCPRACKLossDetection {
		t.Fatal("gVisor keeps how it detects losses elsewhere")
	}
	_ = s.SetReadDeadline(time.Now().Add(2 * time.Minute))
	go func() { _, _ = io.Copy(c, random(1, 1<<40)) }() // ends with c
	receive := func(n int64) {
		t.Helper()
		if _, err := io.CopyN(io.Discard, s, n); err != nil {
			t.Fatal(err)
		}
	}
	receive(16 << 20)
	timeouts := c.rack.timeouts.Value
	before := timeouts()
	p.ab.setCut(true)
	drained := make(chan struct{})
	go func() { // so that it is not for want of space that nothing is sent
		defer close(drained)
		_, _ = io.CopyN(io.Discard, s, 32<<20)
	}()
	for deadline := time.Now().Add(time.Minute); timeouts() < before+2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d timeouts while nothing gets through, want 2", timeouts()-before)
		}
	}
	p.ab.setCut(false)
	<-drained
	if n := timeouts() - before; n > 8 {
		t.Errorf("%d timeouts, two of them while nothing got through", n)
	}
	c.ep.(interface{ LockUser() }).LockUser()
	mode := *c.rack.mode
	c.ep.(interface{ UnlockUser() }).UnlockUser()
	if mode != tcpip.TCPRACKLossDetection {
		t.Error("RACK stays off after the repair")
	}
}
