//go:build !linux

package netstack

import "syscall"

const spliceSupported = false

func (c *Conn) spliceTo(syscall.RawConn) (int64, error)   { return 0, syscall.ENOTSUP }
func (c *Conn) spliceFrom(syscall.RawConn) (int64, error) { return 0, syscall.ENOTSUP }
