//go:build unix

package visor

import "golang.org/x/sys/unix"

// fileLimit returns how many files the process may have open (getrlimit(2)).
func fileLimit() (n uint64, known bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return uint64(limit.Cur), true //nolint:unconvert // signed on some systems
}
