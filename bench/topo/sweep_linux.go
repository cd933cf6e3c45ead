package topo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
)

// Sweep removes the namespaces of runs whose process no longer lives and returns
// how many. Those of living runs stay.
func Sweep() (int, error) {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("topo: sweep: %w", err)
	}
	n := 0
	var errs []error
	for _, e := range entries {
		if !dead(e.Name()) {
			continue
		}
		// One that was never mounted is a plain file, left by a run that died
		// between the two steps; one that has gone was swept by somebody else.
		path := "/run/netns/" + e.Name()
		err := netns.DeleteNamed(e.Name())
		if err != nil {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("topo: sweep %s: %w", e.Name(), err))
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// dead reports whether name is a namespace of ours whose process has gone. A
// process id that was given to another process has another start time.
func dead(name string) bool {
	f := strings.Split(name, "-")
	if len(f) != 5 || f[0] != "sky" {
		return false
	}
	pid, err := strconv.Atoi(f[1])
	if err != nil || pid <= 0 {
		return false
	}
	start, err := startTime(pid)
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	return err == nil && start != f[2]
}

// startTime returns when pid started, in clock ticks since boot: field 22 of
// /proc/<pid>/stat, proc_pid_stat(5).
func startTime(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// Field 2 is the command in brackets, which may hold blanks and brackets.
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return "", fmt.Errorf("topo: /proc/%d/stat has %d fields", pid, len(f)+2)
	}
	return string(f[19]), nil
}
