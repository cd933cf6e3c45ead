//go:build !unix

package visor

// fileLimit returns how many files the process may have open; not known here.
func fileLimit() (n uint64, known bool) { return 0, false }
