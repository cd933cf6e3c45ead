package scenario

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/skyminer/skywire/bench/run"
)

func TestStream(t *testing.T) {
	tests := []struct {
		name    string
		hops    int
		streams int
		metrics []string
	}{
		{"one hop, three streams", 1, 3, []string{"goodput_gbps", "limit_ratio", "tx_cpu_s_per_gb", "rx_cpu_s_per_gb"}},
		{"two hops", 2, 1, []string{"goodput_gbps", "limit_ratio", "transit_cpu_s_per_gb"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := testEnv(t)
			e.Hops, e.Streams, e.Verify, e.Pairs = tt.hops, tt.streams, true, 1
			wantMetrics(t, Stream(), e, tt.metrics...)
		})
	}
}

func TestPingPong(t *testing.T) {
	e := testEnv(t)
	e.Size, e.Pairs = 64, 1
	m := wantMetrics(t, Stream(), e, "rtt_p50_us", "rtt_p90_us", "rtt_p99_us", "round_trips_per_s")
	if m["rtt_p50_us"] > m["rtt_p90_us"] || m["rtt_p90_us"] > m["rtt_p99_us"] {
		t.Errorf("percentiles out of order: %v", m)
	}
}

// wantMetrics runs s and checks that it found the named metrics.
func wantMetrics(t *testing.T, s run.Scenario, e *run.Env, names ...string) map[string]float64 {
	t.Helper()
	got, err := s.Run(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !(got.Metrics[name] > 0) {
			t.Errorf("%s: %s = %v, want more than 0", s.Name, name, got.Metrics[name])
		}
	}
	return got.Metrics
}

func TestChecker(t *testing.T) {
	var sent []byte
	for i := range uint64(3) {
		b := newBlock()
		binary.BigEndian.PutUint64(b, i)
		sent = append(sent, b...)
	}
	missing := slices.Delete(slices.Clone(sent), streamBlock, 2*streamBlock)
	flipped := slices.Clone(sent)
	flipped[2*streamBlock+12345]++
	tests := []struct {
		name      string
		arrived   []byte
		all, good bool
	}{
		{"whole", sent, true, true},
		{"whole, numbers only", sent, false, true},
		{"a block is missing", missing, false, false},
		{"a byte is wrong", flipped, true, false},
		{"a byte is wrong, numbers only", flipped, false, true},
		{"begins with the second block", sent[streamBlock:], false, false},
	}
	for _, tt := range tests {
		for _, step := range []int{1000, streamBlock, len(tt.arrived)} {
			c := checker{block: newBlock(), all: tt.all}
			var err error
			for at := 0; at < len(tt.arrived) && err == nil; at += step {
				err = c.next(tt.arrived[at:min(at+step, len(tt.arrived))])
			}
			if (err == nil) != tt.good {
				t.Errorf("%s, in steps of %d: %v, want it good: %v", tt.name, step, err, tt.good)
			}
			if err == nil && c.at != int64(len(tt.arrived)) {
				t.Errorf("%s: saw %d bytes of %d", tt.name, c.at, len(tt.arrived))
			}
		}
	}
}
