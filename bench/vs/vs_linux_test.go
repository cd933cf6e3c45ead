package vs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
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

func needPrograms(t *testing.T) *run.Env {
	_, err := need("iperf3", "iperf3")
	if os.Geteuid() != 0 || err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs root and iperf3, and CI must have them: %v", err)
		}
		t.Skipf("needs root and iperf3: %v", err)
	}
	e := &run.Env{Options: run.DefaultOptions(), Log: zerolog.Nop()}
	e.Duration, e.Pairs = 200*time.Millisecond, 2
	return e
}

func TestMeasure(t *testing.T) {
	e := needPrograms(t)
	p := &through{}
	s, err := Measure(t.Context(), e, NewPlain(), p)
	if err != nil {
		t.Fatal(err)
	}
	if p.calls != "start stop" {
		t.Errorf("calls %q", p.calls)
	}
	for _, name := range []string{Plain, Skywire} {
		if v := s.Values(name, gbps); len(v) != 2 || v[0] <= 0 || v[1] <= 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestMeasureStopsAfterFailedStart(t *testing.T) {
	e := needPrograms(t)
	p := &through{fail: errors.New("no such thing")}
	if _, err := Measure(t.Context(), e, p); !errors.Is(err, p.fail) {
		t.Errorf("error %v, want %v", err, p.fail)
	}
	if p.calls != "start stop" {
		t.Errorf("calls %q", p.calls)
	}
}
