package setup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/setup/setuptest"
	"github.com/skyminer/skywire/dataplane/forward"
)

// forwards returns the forwarding rules of v.
func forwards(v *setuptest.Visor) (rules []forward.RuleInfo) {
	for _, r := range v.Forward.Rules() {
		if r.Op == "forward" {
			rules = append(rules, r)
		}
	}
	return rules
}

// report adds percentiles of took to the results of b.
func report(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	for name, p := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99} {
		at := took[min(len(took)-1, int(p*float64(len(took))))]
		b.ReportMetric(float64(at.Microseconds())/1000, what+"-"+name)
	}
}
