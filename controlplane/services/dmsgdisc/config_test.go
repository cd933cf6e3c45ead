package dmsgdisc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/conf"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disc.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	return c, conf.Load(path, &c, c.Validate)
}

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disc.json")
	pk, _ := keyPair(t, 0x11)
	if err := os.WriteFile(path, []byte(`{"store": "redis://localhost", "server_ttl": "90s", "official_servers": ["`+pk.String()+`"],
		"proxies": ["192.0.2.0/24"], "limits": {"reads_per_second": 0, "writes_per_second": 2.5}, "test_mode": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	if err := conf.Load(path, &c, c.Validate); err != nil {
		t.Fatal(err)
	}
	o := c.Options()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	d := DefaultOptions()
	if o.ServerTTL != 90*time.Second || o.ClientTTL != d.ClientTTL || o.ReadRate != 0 || o.WriteRate != 2.5 || o.WriteBurst != 125 ||
		o.NewRate != d.NewRate || o.NewBurst != d.NewBurst || o.KeyBurst != d.KeyBurst || !o.Shared || !o.Testing || len(o.Official) != 1 || len(c.Proxies) != 1 {
		t.Errorf("options = %+v", o)
	}
	for _, tt := range []struct{ text, want string }{
		{`{}`, `1:1: store: is missing`},
		{`{"store": "/x"}`, `1:11: store: is "/x"; want bolt:///path/file.db`},
		{`{"store": "bolt:///x", "addr": "9090"}`, `addr: is "9090"; want host:port`},
		{`{"store": "bolt:///x", "server_ttl": "0s"}`, `server_ttl: is 0s; want 1s to`},
		{`{"store": "bolt:///x", "max_entries": 0}`, `max_entries: is 0`},
		{`{"store": "bolt:///x", "limits": {"connections": -1}}`, `1:50: limits.connections: is -1`},
		{`{"store": "bolt:///x", "log_level": "loud"}`, `log_level: is "loud"`},
		{`{"store": "bolt:///x", "monitors": ["` + strings.Repeat("0", 66) + `"]}`, `monitors[0]: is no public key`},
		{`{"store": "bolt:///x", "proxies": ["192.0.2.0"]}`, `proxies[0]`},
		{`{"stor": "bolt:///x"}`, `unknown key "stor"`},
	} {
		if _, err := load(t, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %q in it", tt.text, err, tt.want)
		}
	}
}
