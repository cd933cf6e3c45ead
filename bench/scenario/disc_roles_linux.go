package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/services"
)

// discConfig goes to the discovery.
type discConfig struct {
	Store string // URL
}

func discRoles() []run.Role {
	return []run.Role{run.NewRole(discHub, discServe), run.NewRole(discLoad, discAsk)}
}

// discServe is skysvc dmsgdisc until ctx ends.
func discServe(ctx context.Context, cfg discConfig, ready func()) (_ struct{}, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	service := services.NewCommand(io.Discard, os.Stderr, "bench", false)
	served := make(chan int, 1)
	go func() {
		served <- service.Main(ctx, []string{
			"--log-level", "warn", "dmsgdisc", "--addr", fmt.Sprintf("127.0.0.1:%d", discPort), "--store", cfg.Store, "--no-limits",
		})
	}()
	url := fmt.Sprintf("http://127.0.0.1:%d/health", discPort)
	for {
		rs, err := http.Get(url)
		if err == nil {
			rs.Body.Close()
			break
		}
		select {
		case code := <-served:
			return struct{}{}, fmt.Errorf("disc: the service ended with exit code %d", code)
		case <-time.After(20 * time.Millisecond): // polled: it does not tell
		}
	}
	http.DefaultClient.CloseIdleConnections()
	ready()
	select {
	case <-ctx.Done():
	case code := <-served:
		return struct{}{}, fmt.Errorf("disc: the service ended early, with exit code %d", code)
	}
	if code := <-served; code != cli.ExitOK {
		return struct{}{}, fmt.Errorf("disc: the service ended with exit code %d", code)
	}
	return struct{}{}, nil
}

// discLoadConfig goes to the process that asks.
type discLoadConfig struct {
	PID            int // of the discovery
	Entries, Conns int
	Seconds        float64 // of each part
}

// discTotals is what it found.
type discTotals struct{ Lookups, Updates discPart }

// A discPart is one kind of requests.
type discPart struct {
	N          int
	Seconds    float64
	P50, P99   float64 // ms
	CPUSeconds float64 // of the discovery
}

func (p discPart) rate() float64 { return float64(p.N) / p.Seconds }

// cpu returns the discovery's CPU time for a request, in µs.
func (p discPart) cpu() float64 { return 1e6 * p.CPUSeconds / float64(p.N) }

// clockTick is USER_HZ, the unit of times in /proc/<pid>/stat, the same on all
// architectures that Go knows.
const clockTick = time.Second / 100

// cpuOf returns the CPU time of a process so far, in seconds.
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return parseCPU(b)
}

// parseCPU finds utime and stime, fields 14 and 15 of proc_pid_stat(5). The name, in
// parentheses, may hold anything.
func parseCPU(stat []byte) (float64, error) {
	at := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[at+1:])
	if at < 0 || len(fields) < 13 {
		return 0, errors.New("bench: /proc/<pid>/stat is not as proc_pid_stat(5) says")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("bench: /proc/<pid>/stat: %w", err)
		}
		ticks += n
	}
	return (time.Duration(ticks) * clockTick).Seconds(), nil
}
