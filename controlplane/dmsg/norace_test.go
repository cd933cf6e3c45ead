//go:build !race

package dmsg

const raceEnabled = false
