package run

import (
	"bufio"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// A Host is where a figure was measured. Facts that cannot be found stay zero.
type Host struct {
	CPU    string  `json:"cpu"` // model name
	Arch   string  `json:"arch"`
	Cores  int     `json:"cores"` // that this process may use
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Mem    int64   `json:"mem"`    // bytes of RAM
	Load   float64 `json:"load"`   // average over the last minute, before the run
	Commit string  `json:"commit"` // of this program, "+dirty" if changed since
}

// ThisHost returns the facts of this machine, now.
func ThisHost() Host {
	h := Host{Arch: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		h.Commit = commit(info.Settings)
	}
	h.addSystem()
	return h
}

func commit(settings []debug.BuildSetting) string {
	var rev, dirty string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if rev == "" {
		return ""
	}
	return rev + dirty
}

// cpuModel finds the processor's name in the text of /proc/cpuinfo. x86 and
// RISC-V have one per core; most ARM kernels have only the board's at the end.
func cpuModel(cpuinfo io.Reader) string {
	var board string
	for sc := bufio.NewScanner(cpuinfo); sc.Scan(); {
		key, value, _ := strings.Cut(sc.Text(), ":")
		switch strings.TrimSpace(key) {
		case "model name", "uarch":
			return strings.TrimSpace(value)
		case "Model", "Hardware":
			board = strings.TrimSpace(value)
		}
	}
	return board
}

// memTotal finds the RAM in bytes in the text of /proc/meminfo.
func memTotal(meminfo io.Reader) int64 {
	for sc := bufio.NewScanner(meminfo); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) >= 2 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
