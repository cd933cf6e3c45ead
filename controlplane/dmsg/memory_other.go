//go:build !linux

package dmsg

// totalMemory returns 0: unknown.
func totalMemory() int64 { return 0 }
