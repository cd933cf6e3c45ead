//go:build !linux

package run

// addSystem adds nothing: scenarios run on Linux only.
func (h *Host) addSystem() {}
