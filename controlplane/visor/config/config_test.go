package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Valid public keys: G and 2G of SEC 2.
const (
	g1 = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
	g2 = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
)

// write makes a file and returns its path.
func write(t *testing.T, mode os.FileMode, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultNeedsOnlyAKey(t *testing.T) {
	c := Default()
	err := c.Validate()
	if got := api.Split(err); len(got) != 1 || !strings.HasPrefix(err.Error(), "secret_key_file: is missing") {
		t.Errorf("got %v, want only the key to be missing", err)
	}
	c.SecretKeyFile = KeyFileName
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	pk, sk := cipher.GenerateKeyPair()
	peer, _ := cipher.GenerateKeyPair()
	if err := cipher.SaveSecKey(filepath.Join(dir, "my.key"), sk); err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.SecretKeyFile = "my.key" // beside the file, not in the working directory
	want.Workers = 3
	want.Links = []api.LinkSpec{{PK: peer, Type: api.SUDPH, Addr: "192.0.2.1:7"}}
	want.Rules = []api.Rule{{In: api.Hop{Link: peer, Label: 3}, Out: api.Hop{Link: peer, Label: 4}, Peer: &pk}}
	want.Forwards = []api.ForwardSpec{{Expose: "localhost:80", Port: 80, Allow: []cipher.PubKey{peer}}}
	want.Links = append(want.Links, api.LinkSpec{PK: peer, Type: api.DMSG})
	want.Dmsg = &Dmsg{Discovery: "http://dmsgd.example.com:9090", Servers: []Server{{peer, "[2001:db8::1]:8081"}}, Sessions: 3}
	want.Policy = Policy{InboundList, []cipher.PubKey{peer}, 5}
	if err := Save(path, want); err != nil {
		t.Fatal(err)
	}
	got, gotKey, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if gotKey != sk {
		t.Error("another secret key came back")
	}
	if b, _ := os.ReadFile(path); strings.Contains(string(b), "\"secret_key\"") {
		t.Errorf("the file has an inline key that nobody set:\n%s", b)
	}
	if err := Update(path, func(c *Config) { c.LogLevel = "warn" }); err != nil {
		t.Fatal(err)
	}
	if got, _, err = Load(path); err != nil || got.LogLevel != "warn" || got.Workers != 3 {
		t.Errorf("after Update: %+v, %v", got, err)
	}
	if err := Update(path, func(c *Config) { c.Workers = -1 }); err == nil {
		t.Error("an invalid configuration was saved")
	}
}

func TestInlineKeyNeedsPrivateFile(t *testing.T) {
	_, sk := cipher.GenerateKeyPair()
	hex, err := sk.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	text := `{"secret_key":"` + string(hex) + `"}`
	if _, got, err := Load(write(t, 0o600, text)); err != nil || got != sk {
		t.Errorf("0600: %v", err)
	}
	_, _, err = Load(write(t, 0o640, text))
	if !errors.Is(err, cipher.ErrKeyFileMode) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("0640: got %v, want ErrKeyFileMode and what to do", err)
	}
	if strings.Contains(err.Error(), string(hex)) {
		t.Error("the error quotes the secret key")
	}
}

// TestFaults looks at what an operator reads: place, path and remedy.
func TestFaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // each in its line of the error
	}{
		{"typo", "{\n  \"secret_key_file\": \"k\",\n  \"listen_upd\": \"\"\n}", []string{`:3:3: unknown key "listen_upd"; did you mean "listen_udp"?`}},
		{"value", "{\"secret_key_file\":\"k\",\n \"links\": [\n  {\"pk\":\"" + g1 + "\",\"type\":\"tcp\",\"addr\":\"x:1\"}]}", []string{`:3:85: links[0].type: is "tcp"; want "sudph" (UDP), "stcpr" (TCP) or "dmsg" (through relays)`}},
		{"several, in order", "{\"log_level\":\"loud\",\n\"workers\":17,\n\"policy\":{\"max_link\":3}}", []string{
			":1:1: secret_key_file: is missing", ":1:14: log_level: is \"loud\"", ":2:11: workers: is 17; want 0 to 16", ":3:11: policy: unknown key \"max_link\"; did you mean \"max_links\"?",
		}},
		{"mistyped is not also missing", `{"secret_key_file":5}`, []string{":1:20: secret_key_file: want a string, have a number"}},
		{"bad key", `{"secret_key_file":"k","policy":{"inbound":"list","allow":["02zz"]}}`, []string{":1:60: policy.allow[0]: "}},
		{"no effect", `{"secret_key_file":"k","policy":{"allow":["` + g1 + `"]}}`, []string{"policy.allow: has no effect"}},
		{"both keys", `{"secret_key_file":"k","secret_key":"0000000000000000000000000000000000000000000000000000000000000001"}`, []string{"both set"}},
		{"twice", `{"secret_key_file":"k","links":[{"pk":"` + g1 + `","type":"sudph","addr":"x:1"},{"pk":"` + g1 + `","type":"sudph","addr":"x:2"}],
"rules":[{"in":{"link":"` + g1 + `","label":1},"out":{"link":"` + g2 + `","label":1}},{"in":{"link":"` + g1 + `","label":1},"out":{"link":"` + g2 + `","label":2}}],
"forwards":[{"expose":"h:1","port":5,"public":true},{"expose":"h:2","port":5,"public":true},{"expose":"h:2","port":5,"public":true,"udp":true}]}`, []string{
			"links[1]: a sudph link to this key is already links[0]", "rules[1].in.label: rules[0] has the same", "forwards[1]: forwards[0] has the same port (tcp:5)",
		}},
		{"listen name", `{"secret_key_file":"k","listen_udp":"localhost:1"}`, []string{"listen_udp: is \"localhost:1\"; want IP:port"}},
		{"truncated", `{"secret_key_file":`, []string{":1:19: not valid JSON"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("f", []byte(tt.text))
			lines := api.Split(err)
			if len(lines) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, e := range lines {
				if !strings.HasPrefix(e.Error(), "config: f:") || !strings.Contains(e.Error(), tt.want[i]) {
					t.Errorf("got %q, want %q in it", e, tt.want[i])
				}
			}
		})
	}
}

func TestLoadMissing(t *testing.T) {
	_, _, err := Load(filepath.Join(t.TempDir(), "none.json"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "skyctl config gen") {
		t.Errorf("got %v, want what to do", err)
	}
}

// FuzzParse: no panic, and what is accepted can be saved and reads back the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"secret_key_file":"k"}`))
	f.Add([]byte(`{"secret_key_file":"k","links":[{"pk":"` + g1 + `","type":"sudph","addr":"x:1"}],"rules":[{"in":{"link":"` + g1 + `","label":1},"peer":"` + g2 + `","out":{"link":"` + g1 + `","label":9}}]}`))
	f.Add([]byte(`{"secret_key_file":"k","dmsg":{"discovery":"dmsg://` + g2 + `:80","servers":["` + g1 + `@[::1]:1"],"sessions":1}}`))
	f.Add([]byte(`{"policy":{"allow":[""]},"forwards":[{"udp":true,"reach":"x","local":"[::]:1"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("f", data)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
	})
}
