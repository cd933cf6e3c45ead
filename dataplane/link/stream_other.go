//go:build !linux

package link

import "net"

// A sock exists on Linux only; elsewhere a goroutine writes and waits.
type sock struct{}

func newSock(net.Conn) *sock { return nil }

func (*sock) write([]byte, bool) (int, error) { panic("link: no sock here") }
func (*sock) read(*reader) error              { panic("link: no sock here") }
