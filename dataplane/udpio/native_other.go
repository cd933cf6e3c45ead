//go:build !linux

package udpio

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// native says that there is a faster way here than package net.
const native = false

func openSockets(cfg Config) ([]*net.UDPConn, error) { return openPortable(cfg, net.ListenConfig{}) }

func (c *Conn) setOptions(cfg Config) error { return c.setPortableOptions(cfg) }

func (c *Conn) readNative(b *Batch) error { return c.readPortable(b) }

func (w *Writer) flushNative() error { return w.flushPortable() }

func setDF(syscall.RawConn, bool, bool) error {
	return fmt.Errorf("set don't-fragment: %w", ErrNotSupported)
}

func kernelDrops(syscall.RawConn) uint64 { return 0 }

// PathMTUHint returns ErrNotSupported (wrapped) on this system.
func PathMTUHint(netip.AddrPort) (int, error) {
	return 0, fmt.Errorf("path MTU hint: %w", ErrNotSupported)
}

type rxScratch struct{}

func (*rxScratch) init(*Batch) {}

type txScratch struct{}

func (*txScratch) init(*Writer) {}
