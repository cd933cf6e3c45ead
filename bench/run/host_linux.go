package run

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func (h *Host) addSystem() {
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		h.CPU = cpuModel(bytes.NewReader(b))
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		h.Mem = memTotal(bytes.NewReader(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		one, _, _ := bytes.Cut(b, []byte(" "))
		if load, err := strconv.ParseFloat(string(one), 64); err == nil {
			h.Load = load
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
}
