package vs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/skyminer/skywire/bench/topo"
)

// iperfMargin is what one transfer may take beyond its duration.
const iperfMargin = 15 * time.Second

// need finds a program or names the Debian package to install.
func need(program, debian string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("vs: no %s on this machine, install the Debian package %s: %w", program, debian, err)
	}
	return path, nil
}

// A server is an iperf3 -s. It serves one transfer after the other.
type server struct {
	iperf  string
	cmd    *topo.Cmd
	cancel context.CancelFunc
	idle   chan struct{} // one value each time that it starts to listen; closed at its end
}

func startServer(ctx context.Context, ns *topo.Namespace) (*server, error) {
	iperf, err := need("iperf3", "iperf3")
	if err != nil {
		return nil, err
	}
	s := &server{iperf: iperf, idle: make(chan struct{}, 1)}
	ctx, s.cancel = context.WithCancel(ctx)
	s.cmd = ns.Command(ctx, iperf, "-s", "--forceflush", "-p", strconv.Itoa(ServerPort))
	stdout, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("vs: iperf3 server: %w", err)
	}
	go func() {
		defer close(s.idle)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			if strings.HasPrefix(sc.Text(), "Server listening") {
				s.idle <- struct{}{}
			}
		}
		_ = s.cmd.Wait() // its end is what we asked for, or seen by the next transfer
	}()
	return s, nil
}

func (s *server) stop() {
	s.cancel()
	for range s.idle { // until the process has ended
	}
}

// transfer sends from ns to target and returns the Gbit/s that arrived. iperf3
// counts in whole seconds, and 0 means for ever, so d is rounded up.
func (s *server) transfer(ctx context.Context, ns *topo.Namespace, target netip.AddrPort, d time.Duration, streams int) (float64, error) {
	seconds := int(math.Ceil(d.Seconds()))
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+iperfMargin)
	defer cancel()
	select {
	case _, ok := <-s.idle:
		if !ok {
			return 0, errors.New("vs: the iperf3 server has ended")
		}
	case <-ctx.Done():
		return 0, fmt.Errorf("vs: the iperf3 server stays busy: %w", ctx.Err())
	}
	out, err := ns.Command(ctx, s.iperf, "-J",
		"-c", target.Addr().String(), "-p", strconv.Itoa(int(target.Port())),
		"-t", strconv.Itoa(seconds), "-P", strconv.Itoa(streams),
		"--connect-timeout", "5000",
	).Output()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("vs: iperf3 to %s: %w", target, ctx.Err())
	}
	if rate, parseErr := parseIperf(out); len(out) > 0 || err == nil {
		return rate, parseErr
	}
	return 0, fmt.Errorf("vs: iperf3 to %s: %w", target, err)
}
