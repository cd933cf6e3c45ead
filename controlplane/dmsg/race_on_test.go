//go:build race

package dmsg

// raceEnabled says that sync.Pool drops items at random, so that allocations are not
// counted.
const raceEnabled = true
