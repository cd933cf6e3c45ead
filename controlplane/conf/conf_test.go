package conf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

type config struct {
	Name string   `json:"name"`
	TTL  Duration `json:"ttl"`
}

func (c *config) validate() error {
	var ps api.Problems
	if c.TTL < 0 {
		ps.Add("ttl", "is negative")
	}
	if c.Name == "" {
		ps.Add("name", "is missing")
	}
	return ps.Err()
}

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	c := config{Name: "default"}
	if err := Load(write(t, `{"ttl": "1m30s"}`, 0o644), &c, c.validate); err != nil || c != (config{"default", Duration(90 * time.Second)}) {
		t.Errorf("Load = %v, %+v", err, c)
	}
	tests := []struct {
		name, text string
		want       []string
	}{
		{"value", "{\n  \"ttl\": \"-1s\"\n}", []string{`c.json:2:10: ttl: is negative`, `c.json:1:1: name: is missing`}},
		{"unknown key", `{"name": "x", "tlt": "1s"}`, []string{`c.json:1:15: unknown key "tlt"`}},
		{"no time", `{"name": "x", "ttl": "soon"}`, []string{`c.json:1:22: ttl:`, "90s, 2m or 1h30m"}},
		{"number for a time", `{"name": "x", "ttl": 5}`, []string{`c.json:1:22: ttl:`}},
		{"no JSON", `{`, []string{`c.json:1:`}},
		{"empty", ``, []string{`the text is empty`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c config
			err := Load(write(t, tt.text, 0o644), &c, c.validate)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Load = %v, want %q in it", err, want)
				}
			}
		})
	}
	if err := Load(filepath.Join(t.TempDir(), "none"), &c, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of no file = %v", err)
	}
}

func TestSecretKey(t *testing.T) {
	_, sk := cipher.GenerateKeyPair()
	if got, err := SecretKey("", "", cipher.SecKey{}); err != nil || !got.IsZero() {
		t.Errorf("no key: %v", err)
	}
	open := write(t, "{}", 0o644)
	if _, err := SecretKey(open, "", sk); !errors.Is(err, cipher.ErrKeyFileMode) {
		t.Errorf("key in a file that all may read: %v", err)
	}
	if got, err := SecretKey(write(t, "{}", 0o600), "", sk); err != nil || got != sk {
		t.Errorf("key in the configuration: %v", err)
	}
	if err := cipher.SaveSecKey(filepath.Join(filepath.Dir(open), "k"), sk); err != nil {
		t.Fatal(err)
	}
	if got, err := SecretKey(open, "k", cipher.SecKey{}); err != nil || got != sk {
		t.Errorf("key beside the configuration: %v", err)
	}
	if _, err := SecretKey(open, "other", cipher.SecKey{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no key file: %v", err)
	}
}
