package run

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// A Report is a Result with all that one needs to judge it.
type Report struct {
	Scenario string             `json:"scenario"`
	Time     time.Time          `json:"time"` // UTC, when it ended
	Host     Host               `json:"host"`
	Options  Options            `json:"options"`
	Metrics  map[string]float64 `json:"metrics"`
	Samples  any                `json:"samples,omitempty"`
}

// NewReport completes r. Metrics that are no finite number are left out, for JSON
// has none.
func NewReport(scenario string, o Options, h Host, r Result, now time.Time) Report {
	metrics := maps.Clone(r.Metrics)
	maps.DeleteFunc(metrics, func(_ string, v float64) bool {
		return math.IsNaN(v) || math.IsInf(v, 0)
	})
	return Report{
		Scenario: scenario, Time: now.UTC().Truncate(time.Second), Host: h,
		Options: o, Metrics: metrics, Samples: r.Samples,
	}
}

// WriteJSON writes r as one indented JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: encoding report: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// WriteTable writes r for people.
func (r Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s on %s, %d cores, Linux %s, %s\n", r.Scenario, r.Host.CPU, r.Host.Cores, r.Host.Kernel, r.Host.Go)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		fmt.Fprintf(tw, "  %s\t%s\n", name, strconv.FormatFloat(Round(r.Metrics[name]), 'f', -1, 64))
	}
	return tw.Flush()
}

// Save writes r as JSON to dir/<scenario>-<time>.json, makes dir if need be, and
// returns the file's name.
func (r Report) Save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("bench: results: %w", err)
	}
	name := filepath.Join(dir, r.Scenario+"-"+r.Time.Format("20060102T150405Z")+".json")
	f, err := os.Create(name)
	if err != nil {
		return "", fmt.Errorf("bench: results: %w", err)
	}
	if err := r.WriteJSON(f); err != nil {
		f.Close()
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("bench: results: %w", err)
	}
	return name, nil
}
