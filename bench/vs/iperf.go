package vs

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ServerPort is where the iperf3 server listens.
const ServerPort = 5201

// parseIperf returns the Gbit/s that arrived from the output of iperf3 -c -J. An
// iperf3 that failed says why in there too.
func parseIperf(out []byte) (float64, error) {
	var r struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, fmt.Errorf("vs: output of iperf3: %w", err)
	}
	if r.Error != "" {
		return 0, fmt.Errorf("vs: iperf3: %s", r.Error)
	}
	if r.End.Received.BitsPerSecond <= 0 {
		return 0, errors.New("vs: iperf3 moved nothing")
	}
	return r.End.Received.BitsPerSecond / 1e9, nil
}
