package limit

import (
	"context"
	"net"
	"os"
	"testing"
)

// Over loopback in one process: what the receiver gets opens, and both sides
// count the same things.
func TestSendReceive(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to force the receive buffer, and CI must have it")
		}
		t.Skip("needs root to force the receive buffer")
	}
	cfg := Config{Addr: freeAddr(t), Key: make([]byte, 32), Seconds: 0.1}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	type result struct {
		t   Totals
		err error
	}
	done := make(chan result, 1)
	go func() {
		rx, err := Receive(ctx, cfg, func() { close(ready) })
		done <- result{rx, err}
	}()
	select {
	case <-ready:
	case r := <-done:
		t.Fatal(r.err)
	}
	tx, err := Send(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if tx.Packets == 0 || tx.Packets%BatchPackets != 0 || tx.Bytes != tx.Packets*PayloadBytes {
		t.Errorf("sender counted %d packets, %d bytes", tx.Packets, tx.Bytes)
	}
	if r.t.Packets == 0 || r.t.Packets > tx.Packets || r.t.Bad != 0 {
		t.Errorf("receiver counted %d of %d packets, %d bad", r.t.Packets, tx.Packets, r.t.Bad)
	}
	if r.t.Bytes != r.t.Packets*PayloadBytes {
		t.Errorf("receiver counted %d packets, %d bytes", r.t.Packets, r.t.Bytes)
	}
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}
