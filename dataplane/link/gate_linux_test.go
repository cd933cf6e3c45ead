package link

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestTCPFloodGivesWay: silent connections from 16 addresses kept every neighbour out.
func TestTCPFloodGivesWay(t *testing.T) {
	b := tcpNode(t, nil)
	d := net.Dialer{}
	for i := range maxAccepted {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/maxAcceptedPerAddr))}
		conn, err := d.DialContext(t.Context(), "tcp4", b.TCPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	a := tcpNode(t, nil)
	l := addTCP(t, a, b.pk, b.TCPAddr())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // the flood stays for 5
	defer cancel()
	if err := l.WaitUp(ctx); err != nil {
		t.Fatalf("a neighbour behind a flood: %v", err)
	}
	b.expect(t, "up") // it has proved its key
	if n := b.Drops()["crowded"]; n == 0 {
		t.Errorf("drops %v, want one connection crowded out", b.Drops())
	}
}
