package netstack

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
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
// the window below 0: from a stream of which both directions are open, and from one that
// the other end has closed its half of, which is closed behind the data.
func TestHeavyLoss(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(map[bool]string{false: "open", true: "half-closed"}[half], func(t *testing.T) {
			t.Parallel()
			p := newPair(t, fault{seed: 111, loss: 0.1, delay: 200 * time.Microsecond})
			c, s := join(t, p)
			defer c.Close()
			defer s.Close()
			if half {
				_ = s.CloseWrite()
				if _, err := io.ReadAll(c); err != nil {
					t.Fatal(err)
				}
			}
			data := make([]byte, 64<<10)
			rand.Read(data)
			go func() {
				_, _ = c.Write(data) // the reader sees what is missing
				_ = c.Close()
			}()
			_ = s.SetReadDeadline(time.Now().Add(3 * time.Minute))
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("read %d of %d bytes, %v", len(got), len(data), err)
			}
		})
	}
}

// TestReopen: gVisor still keeps the window where reopen looks for it.
func TestReopen(t *testing.T) {
	p := newPair(t, fault{})
	c, s := join(t, p)
	defer c.Close()
	defer s.Close()
	deadline := time.Now().Add(30 * time.Second)
	_ = c.SetDeadline(deadline)
	_ = s.SetDeadline(deadline)
	window := func() uint32 {
		var info tcpip.TCPInfoOption
		if err := c.ep.GetSockOpt(&info); err != nil {
			t.Fatal(err)
		}
		return info.SndCwnd
	}
	for window() == tcp.InitialCwnd {
		if _, err := c.Write(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	// The last acknowledgements may still be on their way, and change it again.
	for ; ; time.Sleep(time.Millisecond) {
		if !reopen(c.ep) {
			t.Fatal("gVisor keeps the window elsewhere")
		}
		n := window()
		if n == tcp.InitialCwnd {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the window is %d", n)
		}
	}
}
