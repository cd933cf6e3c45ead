package scenario

import (
	"testing"
	"time"
)

// TestLand runs the scenarios that need all programs, each for a moment.
func TestLand(t *testing.T) {
	e := visorEnv(t, "skyvisor", "skysvc", "skyctl")
	e.Pairs, e.Visors = 1, 20
	t.Run("setup", func(t *testing.T) {
		m := wantMetrics(t, Setup(), e, "p50_ms", "p99_ms", "hops1_p50_ms", "hops2_p50_ms", "hops4_p99_ms", "routes")
		if m["p50_ms"] > m["p99_ms"] {
			t.Errorf("metrics %v", m)
		}
	})
	t.Run("failover", func(t *testing.T) {
		m := wantMetrics(t, Failover(), e, "gap_s", "gap_max_s")
		if m["gap_s"] > m["gap_max_s"] {
			t.Errorf("metrics %v", m)
		}
	})
	t.Run("boot", func(t *testing.T) {
		m := wantMetrics(t, Boot(), e, "first_transport_s", "first_transport_max_s", "first_byte_3hop_s", "first_byte_3hop_max_s")
		if m["first_byte_3hop_s"] < m["first_transport_s"] {
			t.Errorf("a byte came back before there was a transport: %v", m)
		}
	})
	t.Run("services", func(t *testing.T) {
		e.Duration = 2 * time.Second // for someone to ask the route finder
		m := wantMetrics(t, Services(), e, "rss_mb", "route_finder_p50_ms", "route_finder_p99_ms", "boot_s", "requests_per_s")
		cores, ok := m["cores"] // 0 where all that was asked took less than a tick of the kernel's
		if m["visors"] != 20 || m["transports"] != 100 || !ok || cores < 0 {
			t.Errorf("metrics %v", m)
		}
	})
}
