//go:build !linux

package main

// newWorld returns the loopback interface: only Linux has network namespaces.
func newWorld() (*world, error) {
	return loopback("What is missing: NATs, and holes punched through them. They take Linux, where network namespaces are."), nil
}
