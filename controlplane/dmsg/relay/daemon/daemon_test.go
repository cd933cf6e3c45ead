package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/cli"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "relay.json")
	run := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = NewCommand(&o, &e, "v1", false).Main(t.Context(), args)
		return code, o.String(), e.String()
	}
	tests := []struct {
		args      string
		code      int
		out, errs string
	}{
		{"run --config " + file, cli.ExitFailed, "", "skydmsg config gen --out " + file},
		{"config gen --out " + file + " --discovery http://d", cli.ExitFailed, "", "public_address: is empty"},
		{"config gen --out " + file, cli.ExitOK, "start it with\n  skydmsg run --config " + file, ""},
		{"config gen --out " + file, cli.ExitFailed, "", "exists; choose another file"},
		{"config gen --force --out " + file, cli.ExitOK, "wrote", ""},
		{"run --check --config " + file, cli.ExitOK, "the configuration is fine", ""},
		{"run --check --addr nowhere --config " + file, cli.ExitFailed, "", `local_address: is "nowhere"`},
		{"run --secret-key-file x --config " + file, cli.ExitFailed, "", "exclude each other"},
		{"walk", cli.ExitUsage, "", `try "skydmsg --help"`},
		{"--version", cli.ExitOK, "v1", ""},
	}
	for _, tt := range tests {
		code, out, errs := run(strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
			t.Errorf("%s: code %d, output %q, errors %q", tt.args, code, out, errs)
		}
	}
}

func TestDaemon(t *testing.T) {
	_, sk := cipher.GenerateKeyPair()
	cfg := Default()
	cfg.LocalAddress, cfg.HealthAddress = "127.0.0.1:0", "127.0.0.1:0"
	d, err := New(Options{Config: cfg, SecretKey: sk, Version: "v1", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	get := func(path string) string {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + d.HealthAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var h health
	if err := json.Unmarshal([]byte(get("/health")), &h); err != nil || h.AvailableSessions != cfg.MaxSessions || h.BuildInfo.Version != "v1" {
		t.Errorf("health %+v, %v", h, err)
	}
	m := get("/metrics")
	for _, want := range []string{"skydmsg_sessions 0\n", `skydmsg_refused_total{reason="address_limit"} 0`, `skydmsg_ended_total{reason="violation_window_overrun"} 0`, `skydmsg_reset_total{reason="no_session"} 0`} {
		if !strings.Contains(m, want) {
			t.Errorf("metrics without %q", want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A brokenDirectory fails while broken is set.
type brokenDirectory struct {
	disc.Directory
	broken atomic.Bool
	tries  atomic.Int32
	puts   atomic.Int32
}

var errBroken = errors.New("broken")

func (b *brokenDirectory) Entry(ctx context.Context, pk cipher.PubKey) (*disc.Entry, error) {
	b.tries.Add(1)
	if b.broken.Load() {
		return nil, errBroken
	}
	return b.Directory.Entry(ctx, pk)
}

func (b *brokenDirectory) Put(ctx context.Context, e *disc.Entry) error {
	b.puts.Add(1)
	return b.Directory.Put(ctx, e)
}

func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pk, sk := cipher.GenerateKeyPair()
		dir := &brokenDirectory{Directory: disc.NewStatic()}
		dir.broken.Store(true)
		var sessions atomic.Int32
		sessions.Store(1)
		a := &announcer{directory: dir, sk: sk, address: "192.0.2.1:8081", capacity: 10, sessions: func() int { return int(sessions.Load()) }, interval: time.Minute, log: zerolog.Nop()}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.run(ctx) }()

		time.Sleep(20 * time.Minute) // the discovery is away
		if n := dir.tries.Load(); n < 20 || n > 30 {
			t.Errorf("%d tries in 20 minutes, want about one a minute", n)
		}
		time.Sleep(24 * time.Hour) // so long that a delay that is doubled each time overflows
		dir.broken.Store(false)
		time.Sleep(70 * time.Second)
		room := func() int {
			e, err := dir.Directory.Entry(ctx, pk)
			if err != nil {
				t.Fatal(err)
			}
			return e.Server.AvailableSessions
		}
		if got := room(); got != 9 {
			t.Errorf("room for %d, want 9", got)
		}
		sessions.Store(4) // told soon
		time.Sleep(changeRhythm + time.Second)
		if got := room(); got != 6 {
			t.Errorf("room for %d, want 6", got)
		}
		puts := dir.puts.Load()
		time.Sleep(10 * time.Minute) // renewed though nothing changes
		if n := dir.puts.Load() - puts; n < 9 || n > 12 {
			t.Errorf("renewed %d times in ten minutes, want about 10", n)
		}
		stop()
		<-done
		if _, err := dir.Directory.Entry(context.Background(), pk); !errors.Is(err, disc.ErrNotFound) {
			t.Errorf("after the end: %v, want ErrNotFound", err)
		}
	})
}
