package services

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/relaytest"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

// A logLines collects what a command logs.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

// field waits for a line with that message and returns one of its fields.
func (l *logLines) field(t *testing.T, message, field string) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		l.mu.Lock()
		lines := l.lines
		l.mu.Unlock()
		for _, line := range lines {
			var m map[string]any
			if json.Unmarshal([]byte(line), &m) == nil && m["message"] == message {
				s, _ := m[field].(string)
				return s
			}
		}
	}
	t.Fatalf("no %q in the log: %s", message, l.lines)
	return ""
}

// run runs a command in the background until the test ends.
func run(t *testing.T, args ...string) *logLines {
	t.Helper()
	var log logLines
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- NewCommand(&log, &log, "v0", false).Main(ctx, args) }()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != cli.ExitOK {
			t.Errorf("skysvc %v: exit code %d, log %s", args, code, log.lines)
		}
	})
	return &log
}

// The discovery finds the relays that are published in it, connects to them and
// serves the same API over dmsg.
func TestDiscoveryOverDmsg(t *testing.T) {
	dir := t.TempDir()
	pk, sk := cipher.GenerateKeyPair()
	if err := cipher.SaveSecKey(filepath.Join(dir, "disc.key"), sk); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "disc.json")
	text := `{"addr": "127.0.0.1:0", "store": "bolt://` + filepath.Join(dir, "disc.db") + `", "secret_key_file": "disc.key", "test_mode": true}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := run(t, "dmsgdisc", "--config", file).field(t, "discovery is up", "addr")
	tcp, err := disc.New("http://"+addr, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tcp.Close)
	startRelay(t, tcp)

	_, clientSK := cipher.GenerateKeyPair()
	client, dial := onDmsg(t, clientSK, tcp)
	transport := dmsghttp.NewTransport(dial)
	t.Cleanup(transport.CloseIdleConnections)
	over, err := disc.New("dmsg://"+pk.String()+":80", disc.HTTPOptions{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	var got *disc.Entry
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// The discovery looks for relays now and then.
		if got, err = over.Entry(t.Context(), client.PubKey()); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if want, err := tcp.Entry(t.Context(), client.PubKey()); err != nil || !bytes.Equal(got.Raw(), want.Raw()) {
		t.Errorf("over dmsg %s, over TCP %s, %v", got.Raw(), want.Raw(), err)
	}
	if e, err := over.Entry(t.Context(), pk); err != nil || e.Client == nil {
		t.Errorf("the discovery's own entry: %+v, %v", e, err)
	}
	// Published over dmsg, found over TCP.
	other, otherSK := cipher.GenerateKeyPair()
	e, err := disc.Update(t.Context(), over, otherSK, func(e *disc.Entry) { e.Client = &disc.Client{} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tcp.Entry(t.Context(), other); err != nil {
		t.Error(err)
	}
	if err := tcp.Delete(t.Context(), e); !errors.Is(err, disc.ErrOutdated) {
		t.Errorf("somebody else deletes the entry: %v", err)
	}
}

// startRelay runs a relay on loopback and publishes it.
func startRelay(t *testing.T, d disc.Directory) {
	t.Helper()
	r := relaytest.Start(t, 100*time.Millisecond)
	e := r.Entry()
	if err := e.Sign(r.SecKey); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "disc.json")
	if err := os.WriteFile(file, []byte(`{"store": "bolt:///nowhere/x.db", "adr": ":9090"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	whole, boot, key := filepath.Join(dir, "all.json"), filepath.Join(dir, "conf.json"), filepath.Join(dir, "x.key")
	_, sk := cipher.GenerateKeyPair()
	for _, err := range []error{
		os.WriteFile(whole, []byte(`{"diR": "x"}`), 0o600),
		os.WriteFile(boot, []byte(`{"secret_key_file": "x.key", "conf": {"name": "x", "dmsg_discovery": "nonsense"}}`), 0o600),
		cipher.SaveSecKey(key, sk),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	db := "bolt://" + filepath.Join(dir, "x.db")
	tests := []struct {
		args string
		code int
		want string
	}{
		{"--help", cli.ExitOK, "dmsgdisc"},
		{"dmsgdisc --help", cli.ExitOK, "--store=URL"},
		{"--version", cli.ExitOK, "v0"},
		{"", cli.ExitOK, "usage: skysvc"},
		{"nothing", cli.ExitUsage, `try "skysvc --help"`},
		{"dmsgdisc --nothing", cli.ExitUsage, "unknown long flag"},
		{"dmsgdisc", cli.ExitFailed, "--store is missing: where entries are kept"},
		{"dmsgdisc --store x --addr y", cli.ExitFailed, `--addr is "y"; want host:port`},
		{"dmsgdisc --store bolt:///nowhere/at/all.db", cli.ExitFailed, "/nowhere/at/all.db"},
		{"dmsgdisc --store ftp://x", cli.ExitFailed, "ftp"},
		{"dmsgdisc --store redis://127.0.0.1:1", cli.ExitFailed, "not available"},
		{"dmsgdisc --addr " + taken.Addr().String() + " --store " + db, cli.ExitFailed, "cannot serve at " + taken.Addr().String()},
		{"dmsgdisc --secret-key-file /nowhere/key --store " + db, cli.ExitFailed, "open /nowhere/key: no such file"},
		{"dmsgdisc --config /nowhere/file", cli.ExitFailed, "/nowhere/file"},
		{"dmsgdisc --config " + file, cli.ExitFailed, `disc.json:1:35: unknown key "adr"; did you mean "addr"?`},
		{"dmsgdisc --check --store " + db, cli.ExitOK, "the configuration is fine"},
		{"all --help", cli.ExitOK, "--public-host=HOST"},
		{"all --check", cli.ExitOK, "the configuration is fine"},
		{"all --addr x --stun-addr y --relay-addr z", cli.ExitFailed, `--relay-addr is "z"; want host:port`},
		{"all --public-host http://x --dir=", cli.ExitFailed, "--dir is missing"},
		{"all --public-url x", cli.ExitFailed, "want a URL like https://"},
		{"all --config " + whole, cli.ExitFailed, `all.json:1:2: unknown key "diR"; did you mean "dir"?`},
		{"all --dir " + dir + " --addr " + taken.Addr().String(), cli.ExitFailed, "cannot serve at " + taken.Addr().String()},
		{"all --dir " + dir + " --addr 127.0.0.1:0 --stun-addr= --relay-addr " + taken.Addr().String(), cli.ExitFailed, "relay at " + taken.Addr().String()},
		{"all --dir " + dir + " --addr 127.0.0.1:0 --geo-database /nowhere/x", cli.ExitFailed, "/nowhere/x"},
		{"all --dir /proc/nowhere", cli.ExitFailed, "/proc/nowhere"},
		{"ar --help", cli.ExitOK, "--stun-addr"},
		{"ar", cli.ExitFailed, "--store is missing: where entries are kept"},
		{"ar --check --store " + db, cli.ExitOK, "the configuration is fine"},
		{"ar --store " + db + " --secret-key-file x", cli.ExitFailed, "dmsg-discovery is missing"},
		{"ar --store " + db + " --addr 127.0.0.1:0 --stun-addr 127.0.0.1:65535", cli.ExitFailed, "the next one is used too"},
		{"tpd --store redis://127.0.0.1:1", cli.ExitFailed, "not available"},
		{"rf --addr x --store y", cli.ExitFailed, `--store is "y"; want bolt:`},
		{"sd --store " + db + " --geo-database /nowhere/x", cli.ExitFailed, "/nowhere/x"},
		{"ut --check --store " + db, cli.ExitOK, "the configuration is fine"},
		{"conf", cli.ExitFailed, "which signs the answers"},
		{"conf --config " + boot + " --check", cli.ExitOK, "the configuration is fine"},
		{"conf --config " + boot + " --addr 127.0.0.1:0", cli.ExitFailed, "is no URL of a service"},
		{"setup-node", cli.ExitFailed, "visors know the setup node by it"},
		{"setup-node --secret-key-file " + key, cli.ExitFailed, "dmsg-discovery is missing"},
	}
	for _, tt := range tests {
		var out logLines
		code := NewCommand(&out, &out, "v0", false).Main(t.Context(), strings.Fields(tt.args))
		if got := strings.Join(out.lines, ""); code != tt.code || !strings.Contains(got, tt.want) {
			t.Errorf("skysvc %s: exit code %d, %s\nwant %d and %q", tt.args, code, got, tt.code, tt.want)
		}
	}
}
