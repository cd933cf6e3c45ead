//go:build !linux

package main

// newWorld returns the loopback interface: only Linux has network namespaces.
func newWorld() (*world, error) {
	return loopback("on Linux, as root, each visor would have a network namespace of its own"), nil
}
