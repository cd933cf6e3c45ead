package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		v    []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	}
	for _, tt := range tests {
		first := tt.v[0]
		if got := Median(tt.v); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", tt.v, got, tt.want)
		}
		if tt.v[0] != first {
			t.Errorf("Median changed its argument to %v", tt.v)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestRounds(t *testing.T) {
	e := &Env{Options: Options{Pairs: 3}, Log: zerolog.Nop()}
	var order string
	contestant := func(name string, values ...float64) Contestant {
		return Contestant{Name: name, Run: func(context.Context) (Sample, error) {
			v := values[0]
			values = values[1:]
			order += name
			return Sample{"x": v}, nil
		}}
	}
	// The machine slows down tenfold in the last round; the ratio stays.
	s, err := e.Rounds(t.Context(), contestant("A", 10, 30, 1), contestant("B", 20, 10, 2))
	if err != nil {
		t.Fatal(err)
	}
	if order != "ABABAB" {
		t.Errorf("order %s, want ABABAB", order)
	}
	if got := s.Ratio("A", "B", "x"); got != 0.5 {
		t.Errorf("ratio %v, want 0.5, the median of 0.5, 3, 0.5", got)
	}
	if got := s.Median("B", "x"); got != 10 {
		t.Errorf("median of B %v, want 10", got)
	}
	if !math.IsNaN(s.Ratio("A", "C", "x")) {
		t.Error("a ratio to nobody is a number")
	}

	broken := errors.New("broken")
	_, err = e.Rounds(t.Context(), Contestant{Name: "C", Run: func(context.Context) (Sample, error) { return nil, broken }})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "C, round 1") {
		t.Errorf("error %v, want broken in round 1 of C", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Rounds(ctx, contestant("D", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestRound(t *testing.T) {
	for in, want := range map[float64]float64{14.6894: 14.69, 0.056271: 0.05627, 123456: 123500, -1.23456: -1.235, 0: 0} {
		if got := Round(in); math.Abs(got-want) > 1e-9 {
			t.Errorf("Round(%v) = %v, want %v", in, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 4, 5, 6, time.UTC)
	r := NewReport("limit", DefaultOptions(), Host{CPU: "test", Cores: 2},
		Result{Metrics: map[string]float64{"gbps": 9.5, "nan": math.NaN(), "inf": math.Inf(1)}, Samples: Series{"limit": {{"gbps": 9.5}}}}, now)
	name, err := r.Save(filepath.Join(t.TempDir(), "new", "results"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := filepath.Base(name), "limit-20261122T150405Z.json"; got != want {
		t.Errorf("saved as %s, want %s", got, want)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Scenario string
		Host     Host
		Metrics  map[string]float64
		Samples  Series
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Scenario != "limit" || got.Host.Cores != 2 || len(got.Metrics) != 1 || got.Metrics["gbps"] != 9.5 || got.Samples.Median("limit", "gbps") != 9.5 {
		t.Errorf("read back %+v", got)
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "gbps  9.5\n") {
		t.Errorf("table:\n%s", &table)
	}
}

func TestOptions(t *testing.T) {
	if o := DefaultOptions(); o.Validate() != nil || !o.Quotable() {
		t.Errorf("defaults: %v, quotable %v", o.Validate(), o.Quotable())
	}
	err := Options{Hops: 0, Transport: "tcp", Pairs: 0, Streams: 0, Size: -1, Sessions: -1, Store: "paper"}.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, word := range []string{"hops", "transport", "pairs", "seconds", "streams", "size", "sessions", "store"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not mention %s", err, word)
		}
	}
}

func TestHost(t *testing.T) {
	arm := "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n"
	if got := cpuModel(strings.NewReader(arm)); got != "Raspberry Pi 4" {
		t.Errorf("ARM board: %q", got)
	}
	if got := cpuModel(strings.NewReader("processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\n")); got != "AMD EPYC" {
		t.Errorf("x86: %q", got)
	}
	if got := memTotal(strings.NewReader("MemTotal:       1024 kB\nMemFree: 1 kB\n")); got != 1<<20 {
		t.Errorf("memory: %d", got)
	}
	if got := memTotal(strings.NewReader("MemTotal: lots kB\n")); got != 0 {
		t.Errorf("bad memory: %d", got)
	}
	settings := []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}}
	if got := commit(settings); got != "abc+dirty" {
		t.Errorf("commit %q", got)
	}
	if got := commit(nil); got != "" {
		t.Errorf("commit %q of nothing", got)
	}
}

func TestRole(t *testing.T) {
	type config struct{ N int }
	r := NewRole("double", func(_ context.Context, c config, ready func()) (config, error) {
		ready()
		return config{2 * c.N}, nil
	})
	var out bytes.Buffer
	if err := r.Serve(t.Context(), []byte(`{"N":21}`), "", strings.NewReader(""), &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "{}\n{\"N\":42}\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if err := r.Serve(t.Context(), []byte(`{`), "", strings.NewReader(""), &out); err == nil {
		t.Error("took a broken config")
	}

	waits := NewRole("wait", func(ctx context.Context, _ config, _ func()) (config, error) {
		<-ctx.Done() // the end of stdin
		return config{}, nil
	})
	profile := filepath.Join(t.TempDir(), "cpu")
	if err := waits.Serve(t.Context(), []byte(`{}`), profile, strings.NewReader(""), &out); err != nil {
		t.Fatal(err)
	}
	if s, err := os.Stat(profile); err != nil || s.Size() == 0 {
		t.Errorf("profile: %v, %v", s, err)
	}
}
