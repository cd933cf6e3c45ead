package cipher

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "visor.key")
	for range 2 { // the second save replaces the first
		_, sk := GenerateKeyPair()
		if err := SaveSecKey(path, sk); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadSecKey(path); err != nil || got != sk {
			t.Fatalf("loaded another key, %v", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files in the folder, want 1", len(entries))
	}
}

func TestLoadSecKeyRefusals(t *testing.T) {
	_, sk := GenerateKeyPair()
	text, _ := sk.MarshalText()
	digits := string(text)
	tests := []struct {
		name    string
		content string
		mode    fs.FileMode
		want    error
	}{
		{"plain", digits, 0o600, nil},
		{"read-only, with white space", " " + digits + "\r\n", 0o400, nil},
		{"group may read", digits, 0o640, ErrKeyFileMode},
		{"others may read", digits, 0o604, ErrKeyFileMode},
		{"others may write", digits, 0o602, ErrKeyFileMode},
		{"truncated", digits[:63], 0o600, ErrKeyLength},
		{"not hex", "zz" + digits[2:], 0o600, ErrKeyText},
		{"empty", "", 0o600, ErrKeyLength},
		{"huge", digits + strings.Repeat("0", 1<<16), 0o600, ErrKeyLength},
		{"zero", strings.Repeat("0", 64), 0o600, ErrZeroKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			got, err := LoadSecKey(path)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && got != sk {
				t.Error("another key was loaded")
			}
			if err != nil && strings.Contains(err.Error(), digits[2:60]) {
				t.Errorf("the error shows the secret: %v", err)
			}
			if errors.Is(err, ErrKeyFileMode) && !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("%q does not say what to do", err)
			}
		})
	}
	if _, err := LoadSecKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := SaveSecKey(filepath.Join(t.TempDir(), "k"), SecKey{}); !errors.Is(err, ErrZeroKey) {
		t.Errorf("saving no key: %v", err)
	}
}
