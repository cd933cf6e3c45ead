package store

import "testing"

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		info, appendfsync string
		want              int
	}{
		{"# Persistence\r\naof_enabled:1\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", "always", 0},
		{"aof_enabled:1\r\nmaxmemory:5\r\nmaxmemory_policy:noeviction\r\n", "", 0},
		{"aof_enabled:1\r\n", "everysec", 1},
		{"aof_enabled:0\r\n", "everysec", 1},
		{"aof_enabled:0\r\nmaxmemory:5\r\nmaxmemory_policy:volatile-ttl\r\n", "", 2},
		{"", "", 0},
	} {
		if got := warnings(tt.info, tt.appendfsync); len(got) != tt.want {
			t.Errorf("%q, %q: %q, want %d warnings", tt.info, tt.appendfsync, got, tt.want)
		}
	}
}
