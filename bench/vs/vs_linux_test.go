package vs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMetrics(t *testing.T) {
	s := run.Series{
		Plain:     {{gbps: 20}, {gbps: 20}, {gbps: 10}},
		WireGuard: {{gbps: 4}, {gbps: 4}, {gbps: 2}},
		Nebula:    {{gbps: 2}, {gbps: 2}, {gbps: 1}},
	}
	m := Metrics(s)
	if len(m) != 5 || m["plain_gbps"] != 20 || m["wireguard_go_plain_ratio"] != 0.2 || m["nebula_gbps"] != 2 {
		t.Errorf("without Skywire: %v", m)
	}
	s[Skywire] = []run.Sample{{gbps: 6}, {gbps: 6}, {gbps: 3}}
	m = Metrics(s)
	if m["best_peer_ratio"] != 1.5 || m["skywire_nebula_ratio"] != 3 || m["skywire_plain_ratio"] != 0.3 {
		t.Errorf("with Skywire: %v", m)
	}
	s[Nebula] = []run.Sample{{gbps: 2}, {gbps: 12}, {gbps: 6}} // the better one in two rounds of three
	if m = Metrics(s); m["best_peer_ratio"] != 0.5 {
		t.Errorf("best_peer_ratio %v where the better peer changes, want 0.5", m["best_peer_ratio"])
	}
}

func TestTail(t *testing.T) {
	var l tail
	for i := range 1000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	if s := l.String(); len(s) != tailBytes || !strings.HasSuffix(s, "line 999\n") {
		t.Errorf("%d bytes, ending %q", len(s), s[len(s)-10:])
	}
}

func TestNeed(t *testing.T) {
	_, err := need("no-such-program", "some-package")
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "Debian package some-package") {
		t.Errorf("error %v", err)
	}
}

func TestSweepSockets(t *testing.T) {
	dir := t.TempDir()
	names := map[string]bool{ // whether it stays
		fmt.Sprintf("skya%d.sock", os.Getpid()): true,
		"skyb99999999.sock":                     false,
		"wg0.sock":                              true,
	}
	for name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweepSockets(dir); err != nil {
		t.Fatal(err)
	}
	for name, stays := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, stays %v", name, err, stays)
		}
	}
}

// through is a Peer that takes the wire itself and remembers what was called.
type through struct {
	plain
	fail  error
	calls string
}

func (p *through) Name() string { return Skywire }
func (p *through) Start(ctx context.Context, l *topo.Link) error {
	p.calls += "start "
	p.target = netip.AddrPortFrom(l.B.IPv6.Addr(), ServerPort)
	return p.fail
}
func (p *through) Stop() { p.calls += "stop" }

// needPrograms skips for developers without root or the programs, never in CI.
func needPrograms(t *testing.T, programs ...string) *run.Env {
	var errs []error
	for _, p := range programs {
		_, err := need(p, p)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); os.Geteuid() != 0 || err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs root and %v, and CI must have them: %v", programs, err)
		}
		t.Skipf("needs root and %v: %v", programs, err)
	}
	e := &run.Env{Options: run.DefaultOptions(), Log: zerolog.Nop(), Cache: t.TempDir()}
	e.Duration, e.Pairs = 200*time.Millisecond, 1 // iperf3 makes it a second
	return e
}

func TestMeasure(t *testing.T) {
	e := needPrograms(t, "iperf3")
	p := &through{}
	s, err := Measure(t.Context(), e, NewPlain(), p)
	if err != nil {
		t.Fatal(err)
	}
	if p.calls != "start stop" {
		t.Errorf("calls %q", p.calls)
	}
	for _, name := range []string{Plain, Skywire} {
		if v := s.Values(name, gbps); len(v) != 1 || v[0] <= 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestMeasureStopsAfterFailedStart(t *testing.T) {
	e := needPrograms(t, "iperf3")
	p := &through{fail: errors.New("no such thing")}
	if _, err := Measure(t.Context(), e, p); !errors.Is(err, p.fail) {
		t.Errorf("error %v, want %v", err, p.fail)
	}
	if p.calls != "start stop" {
		t.Errorf("calls %q", p.calls)
	}
}

// The others come up, carry a stream, and leave nothing behind.
func TestPeers(t *testing.T) {
	e := needPrograms(t, "iperf3", "nebula", "go")
	n := &nebula{}
	s, err := Measure(t.Context(), e, NewWireGuard(e), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{WireGuard, Nebula} {
		if v := s.Values(name, gbps); len(v) != 1 || v[0] <= 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
	if _, err := os.Stat(n.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s after Stop: %v", n.dir, err)
	}
	left, err := filepath.Glob(filepath.Join(socketDir, fmt.Sprintf("%s?%d%s", devPrefix, os.Getpid(), socketSuffix)))
	if len(left) > 0 || err != nil {
		t.Errorf("sockets left: %v, %v", left, err)
	}
}
