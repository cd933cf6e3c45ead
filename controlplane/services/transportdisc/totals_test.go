package transportdisc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// Types are strangers' words: metrics and totals do not grow with them, and what is no
// longer listed does not count.
func TestTotals(t *testing.T) {
	r := start(t, openStore(t, ""), func(o *Options) { o.KeyRate = 0 })
	a, b := r.visor(1), r.visor(2)
	b.beat(t)
	entries := []deployment.SignedTransport{entry(t, a, b, "stcpr", a, b)}
	for i := range 20 {
		entries = append(entries, entry(t, a, b, fmt.Sprintf("word%d", i), a, b))
	}
	a.register(t, entries...)
	check := func(visors int, types string) {
		t.Helper()
		n := r.s.index.Totals()
		if got := fmt.Sprint(n.Types); got != types || n.Visors != visors {
			t.Errorf("%d visors, %s; want %d, %s", n.Visors, got, visors, types)
		}
		var w bytes.Buffer
		r.s.WriteMetrics(&w)
		if got := strings.Count(w.String(), "skywire_tpd_transports{"); got != len(n.Types) {
			t.Errorf("%d lines of types in the metrics", got)
		}
	}
	check(2, "map[other:20 stcpr:1]")
	if err := a.Delete(t.Context(), entries[0].ID); err != nil {
		t.Fatal(err)
	}
	check(2, "map[other:20]")
	a.restart()
	a.beat(t)
	check(2, "map[]")
}
