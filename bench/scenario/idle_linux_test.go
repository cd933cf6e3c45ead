package scenario

import "testing"

func TestIdle(t *testing.T) {
	e := visorEnv(t, "skyvisor")
	e.Pairs, e.Streams = 1, 3
	m := wantMetrics(t, Idle(), e, "rss_mb", "rss_anon_mb", "rss_linked_mb")
	if m["links"] != 3 || m["rss_linked_mb"] < m["rss_anon_mb"] {
		t.Errorf("metrics %v", m)
	}
}

// The first lines of a file that Linux 6.18 wrote.
func TestParseRollup(t *testing.T) {
	const text = `55d9c8a00000-7ffd3d3f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               20468 kB
Pss:               10234 kB
Anonymous:          5016 kB
`
	if r, err := parseRollup([]byte(text)); err != nil || r.all != 20468<<10 || r.anon != 5016<<10 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "Rss: many kB\n", "Anonymous: 5 kB\n"} {
		if r, err := parseRollup([]byte(bad)); err == nil {
			t.Errorf("%q: %+v and no error", bad, r)
		}
	}
}
