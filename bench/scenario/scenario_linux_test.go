package scenario

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/bench/run"
)

// TestMain lets the test binary play the roles that skybench has.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		for _, r := range Roles() {
			if r.Name != os.Args[1] {
				continue
			}
			if err := r.Serve(context.Background(), []byte(os.Args[2]), "", os.Stdin, os.Stdout); err != nil {
				os.Stderr.WriteString(err.Error() + "\n")
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	// fasthttp's client sweeps connections for 10 s after the last one; it has no Close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

// testEnv is for runs that show that a scenario works, not how fast it is.
func testEnv(t *testing.T) *run.Env {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root for network namespaces, and CI must have it")
		}
		t.Skip("needs root for network namespaces")
	}
	e := &run.Env{Options: run.DefaultOptions(), Log: zerolog.Nop(), Self: os.Args[0], Stderr: os.Stderr}
	e.Duration, e.Pairs = 100*time.Millisecond, 2
	return e
}

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range All() {
		if seen[s.Name] || s.Name == "" || s.Summary == "" || s.Run == nil {
			t.Errorf("scenario %+v is incomplete or there twice", s)
		}
		seen[s.Name] = true
		if found, ok := Find(s.Name); !ok || found.Name != s.Name {
			t.Errorf("Find(%q) found %q", s.Name, found.Name)
		}
	}
	if _, ok := Find("nonsense"); ok {
		t.Error("found nonsense")
	}
	for _, r := range Roles() {
		if seen[r.Name] {
			t.Errorf("role %s is there twice or is a scenario", r.Name)
		}
		seen[r.Name] = true
	}
}

func TestLimit(t *testing.T) {
	e := testEnv(t)
	got, err := Limit().Run(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"received_gbps", "received_gbps_min", "received_gbps_max", "tx_cpu_s_per_gb", "rx_cpu_s_per_gb"} {
		if !(got.Metrics[name] > 0) {
			t.Errorf("%s = %v, want more than 0", name, got.Metrics[name])
		}
	}
	if l := got.Metrics["loss"]; !(l >= 0 && l < 1) {
		t.Errorf("loss %v", l)
	}
	if s := got.Samples.(run.Series); len(s["limit"]) != e.Pairs {
		t.Errorf("%d samples, want %d", len(s["limit"]), e.Pairs)
	}
}

func TestTransit(t *testing.T) {
	m := wantMetrics(t, Transit(), testEnv(t), "cpu_ratio", "cpu_s_per_gb", "limit_cpu_s_per_gb", "forwarded_gbps", "packets_per_s")
	if got, most := m["forwarded_gbps"], 1.5*transitRate/1e9; got > most {
		t.Errorf("%v Gbit/s forwarded of a flow of %v: the sender keeps no rate", got, transitRate/1e9)
	}
}

func TestMicro(t *testing.T) {
	e := &run.Env{Options: run.DefaultOptions(), Log: zerolog.Nop()}
	e.Duration, e.Pairs = 10*time.Millisecond, 1
	wantMetrics(t, Micro(), e, "seal_1400_ns", "open_8192_mb_per_s", "udp_batch_ns", "label_lookup_ns",
		"handshake_ik_ns", "handshake_kk_ns", "ecdh_ns", "ecdh_static_ns")
}
