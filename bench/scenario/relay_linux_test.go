package scenario

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
)

func TestRelay(t *testing.T) {
	e := testEnv(t)
	e.Streams, e.Verify, e.Pairs = 3, true, 1
	wantMetrics(t, Relay(), e, "goodput_gbps", "limit_ratio", "cpu_s_per_gb", "cpu_ratio_vs_proxy", "cpu_ratio_vs_splice",
		"proxy_goodput_gbps", "tx_cpu_s_per_gb", "rx_cpu_s_per_gb")
}

// Only that it runs: the test is over before the windows have grown.
func TestRelayFar(t *testing.T) {
	e := testEnv(t)
	e.Verify, e.Pairs = true, 1
	m := wantMetrics(t, RelayFar(), e, "goodput_mbps", "whole_mbps")
	// In five round trips neither TCP nor the stream's window comes far: 15 Mbit/s here,
	// and 1200 without the delay.
	if got := m["whole_mbps"]; got > 150 {
		t.Errorf("%v Mbit/s over a path that has just begun: the wires have no delay", got)
	}
}

func TestRelayStall(t *testing.T) {
	e := testEnv(t)
	e.Verify, e.Pairs, e.Streams = true, 1, 8
	m := wantMetrics(t, RelayStall(), e, "ratio", "ratio_unread", "alone_gbps", "goodput_gbps", "stalled_bytes")
	if m["ratio"] > 5 {
		t.Errorf("a stream brings %v times as much beside others", m["ratio"])
	}
}

func TestRelayChurn(t *testing.T) {
	e := testEnv(t)
	e.Pairs, e.Streams = 1, 4
	m := wantMetrics(t, RelayChurn(), e, "dial_p50_ms", "dial_p90_ms", "dial_p99_ms", "dials_per_s", "relay_cpu_ms_per_dial")
	if m["dial_p50_ms"] > m["dial_p90_ms"] || m["dial_p90_ms"] > m["dial_p99_ms"] {
		t.Errorf("percentiles out of order: %v", m)
	}
}

func TestRelayIdle(t *testing.T) {
	e := testEnv(t)
	e.Sessions = 12
	m := wantMetrics(t, RelayIdle(), e, "rss_mb", "rss_without_mb", "connects_per_s", "goroutines_per_session")
	if m["sessions"] != 12 || m["goroutines_per_session"] < 1 {
		t.Errorf("metrics %v", m)
	}
}

func TestPause(t *testing.T) {
	tests := []struct {
		name   string
		points []streamPoint
		want   float64
	}{
		{"nothing", nil, 0},
		{"steady", []streamPoint{{0.1, 1}, {0.2, 2}, {0.3, 3}}, 0},
		{"twice", []streamPoint{{1, 1}, {2, 1}, {3, 5}, {4, 5}, {6, 5}, {7, 6}}, 3},
		{"to the end", []streamPoint{{1, 1}, {2, 2}, {3, 2}, {4, 2}}, 2},
	}
	for _, tt := range tests {
		if got := (streamTotals{Points: tt.points}).pause(); got != tt.want {
			t.Errorf("%s: %v s, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var v []float64
	for i := range 200 {
		v = append(v, float64(199-i))
	}
	if got := percentiles(v, 0, 50, 99); got[0] != 0 || got[1] != 100 || got[2] != 198 {
		t.Errorf("percentiles of 0..199: %v", got)
	}
	if got := percentiles([]float64{7}, 50, 99); got[0] != 7 || got[1] != 7 {
		t.Errorf("percentiles of one value: %v", got)
	}
}

// An echo that changes a message is noticed.
func TestChurnEcho(t *testing.T) {
	for _, off := range []uint64{0, 1} {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			msg := make([]byte, 8)
			if _, err := io.ReadFull(far, msg); err == nil {
				binary.BigEndian.PutUint64(msg, binary.BigEndian.Uint64(msg)+off)
				_, _ = far.Write(msg)
			}
		}()
		if err := churnEcho(near, 1234); (err == nil) != (off == 0) {
			t.Errorf("off by %d: %v", off, err)
		}
		near.Close()
	}
}
