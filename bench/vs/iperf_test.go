package vs

import (
	"strings"
	"testing"
)

// Shortened output of iperf 3.12, Debian 12.
const iperfOutput = `{
	"start": {"version": "iperf 3.12", "test_start": {"protocol": "TCP", "num_streams": 1}},
	"intervals": [{"sum": {"bits_per_second": 1}}],
	"end": {
		"sum_sent":     {"seconds": 2.000, "bytes": 5802819584, "bits_per_second": 23211278336.0, "retransmits": 0},
		"sum_received": {"seconds": 2.001, "bytes": 5801771008, "bits_per_second": 23195486288.9}
	}
}`

func TestParseIperf(t *testing.T) {
	got, err := parseIperf([]byte(iperfOutput))
	if err != nil {
		t.Fatal(err)
	}
	if want := 23.1954862889; got < want-1e-9 || got > want+1e-9 {
		t.Errorf("%v Gbit/s, want %v", got, want)
	}
	tests := []struct{ out, want string }{
		{`{"start":{},"error":"error - unable to connect to server"}`, "unable to connect"},
		{`{"end":{}}`, "moved nothing"},
		{`iperf3: error`, "output of iperf3"},
		{``, "output of iperf3"},
	}
	for _, tt := range tests {
		if _, err := parseIperf([]byte(tt.out)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("parseIperf(%q): %v, want %q", tt.out, err, tt.want)
		}
	}
}
