package dmsg

import "golang.org/x/sys/unix"

// totalMemory returns the machine's RAM in bytes (sysinfo(2)), or 0.
func totalMemory() int64 {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 0
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit)) //nolint:unconvert // uint32 on 32-bit systems
}
