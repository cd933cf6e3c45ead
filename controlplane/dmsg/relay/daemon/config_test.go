package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relay.json")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file that the deployed software's generator would write (spec of its keys:
// dmsg-server, config gen).
func TestLoadDeployed(t *testing.T) {
	pk, sk := cipher.GenerateKeyPair()
	secret, _ := sk.MarshalText()
	path := write(t, `{
  "public_key": "`+pk.String()+`",
  "secret_key": "`+string(secret)+`",
  "discovery": "http://dmsgd.example.com",
  "public_address": "192.0.2.1:8081",
  "local_address": ":8081",
  "health_endpoint_address": ":8082",
  "log_level": "info",
  "update_interval": 60000000000,
  "max_sessions": 2048
}`, 0o600)
	c, got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != sk || c.MaxSessions != 2048 || time.Duration(c.UpdateInterval) != time.Minute || c.MaxStreams != Default().MaxStreams {
		t.Errorf("got %+v", c)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); !errors.Is(err, cipher.ErrKeyFileMode) {
		t.Errorf("a secret that others may read: %v, want ErrKeyFileMode", err)
	}
}

func TestLoadFaults(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	const secret = `"secret_key": "1111111111111111111111111111111111111111111111111111111111111111"`
	tests := []struct {
		name, text, want string
	}{
		{"no key", `{}`, `1:1: secret_key_file: is missing`},
		{"unknown key", "{" + secret + ",\n \"max_session\": 1}", `2:2: unknown key "max_session"; did you mean "max_sessions"?`},
		{"other key", `{"public_key": "` + pk.String() + `", ` + secret + `}`, `but the secret key is that of`},
		{"discovery without address", "{" + secret + `, "discovery": "http://x"}`, `public_address: is empty`},
		{"discovery", "{" + secret + `, "discovery": "dmsg", "public_address": "a:1"}`, `discovery: is "dmsg"; want a URL`},
		{"port", "{" + secret + `, "local_address": "a:99999"}`, `local_address: is "a:99999"`},
		{"duration", "{" + secret + `, "drain_timeout": "soon"}`, `drain_timeout: want a duration`},
		{"interval", "{" + secret + `, "update_interval": "5m"}`, `update_interval: is 5m0s; want 1s to 1m30s`},
		{"proxy", "{" + secret + `, "proxies": ["10.0.0.0/8", "lb"]}`, `proxies[1]: is "lb"`},
		{"log level", "{" + secret + `, "log_level": "loud"}`, `log_level: is "loud"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.text, 0o600)
			_, _, err := Load(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
