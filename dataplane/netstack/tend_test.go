package netstack

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
	"time"
)

// TestStalled: 4294967294 is what gVisor reports of a window of -2, and took a stream
// for good under 10 % loss.
func TestStalled(t *testing.T) {
	for window, want := range map[uint32]bool{0: true, 1: false, 10: false, 1 << 20: false, 1<<32 - 2: true} {
		if got := stalled(window); got != want {
			t.Errorf("stalled(%d) = %v, want %v", window, got, want)
		}
	}
}

// TestHeavyLoss moves data where every tenth packet is lost, with the seed that took
// the window below 0.
func TestHeavyLoss(t *testing.T) {
	p := newPair(t, fault{seed: 111, loss: 0.1, delay: 200 * time.Microsecond})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	data := make([]byte, 64<<10)
	rand.Read(data)
	go func() {
		_, _ = c.Write(data) // the reader sees what is missing
		_ = c.CloseWrite()
	}()
	_ = s.SetReadDeadline(time.Now().Add(3 * time.Minute))
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d of %d bytes, %v", len(got), len(data), err)
	}
}
