package scenario

import (
	"testing"
	"time"
)

// Only that it runs: the test is over before slow start is.
func TestLongFat(t *testing.T) {
	e := testEnv(t)
	e.Verify = true
	wantMetrics(t, LongFat(), e, "rate_ratio", "whole_ratio", "cubic_ratio", "kernel_cubic_mbps", "lossy_stream_mbps")
}

func TestRate(t *testing.T) {
	s := streamTotals{Points: []streamPoint{{0.5, 0}, {1.5, 1000}, {2.5, 5000}}}
	tests := []struct {
		from, to time.Duration
		want     float64 // bit/s
	}{
		{0, 2 * time.Second, 4000},
		{time.Second, 3 * time.Second, 20000},
		{0, time.Second, 0},
		{2 * time.Second, 10 * time.Second, 4000}, // it ended early
	}
	for _, tt := range tests {
		if got := s.rate(tt.from, tt.to); got != tt.want {
			t.Errorf("rate from %v to %v: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}
