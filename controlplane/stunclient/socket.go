package stunclient

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Discover is Client.Discover over a UDP socket of its own, which nobody else reads
// until it returns. The socket stays open; its read deadline is cleared.
func Discover(ctx context.Context, pc *net.UDPConn, servers []string, o Options) (Result, error) {
	c := New(func(b []byte, to netip.AddrPort) error {
		_, err := pc.WriteToUDPAddrPort(b, to)
		return err
	})
	if !o.Local.IsValid() {
		if a, ok := pc.LocalAddr().(*net.UDPAddr); ok {
			o.Local = a.AddrPort()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			var timeout net.Error
			switch {
			case err == nil:
				c.Handle(buf[:n], from)
			case errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
				return
			}
		}
	}()
	res, err := c.Discover(ctx, servers, o)
	_ = pc.SetReadDeadline(time.Unix(1, 0)) // ends the reading
	<-done
	_ = pc.SetReadDeadline(time.Time{})
	return res, err
}
