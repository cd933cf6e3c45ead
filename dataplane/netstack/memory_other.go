//go:build !linux

package netstack

// totalMemory returns 0: unknown. New then takes defaultMemory.
func totalMemory() int64 { return 0 }
