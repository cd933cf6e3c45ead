package scenario

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
	"github.com/skyminer/skywire/bench/vs"
)

// visorEnv is testEnv in a directory where programs stand beside this one.
func visorEnv(t *testing.T, programs ...string) *run.Env {
	t.Helper()
	e := testEnv(t)
	dir := t.TempDir()
	build := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, name := range programs {
		build = append(build, "../../cmd/"+name)
	}
	if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	self, err := filepath.Abs(e.Self)
	if err != nil {
		t.Fatal(err)
	}
	e.Self = filepath.Join(dir, "skybench")
	if err := os.Symlink(self, e.Self); err != nil {
		t.Fatal(err)
	}
	return e
}

// The way through two daemons works, and they leave nothing behind.
func TestForwarding(t *testing.T) {
	e := visorEnv(t, "skyvisor")
	wires, err := topo.Chain(e.Log, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer wires.Close()
	l := wires.Links[0]
	server, err := l.B.NS.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), vs.ServerPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		c, err := server.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()

	f := newForwarding(e).(*forwarding)
	defer f.Stop()
	if err := f.Start(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := l.A.NS.Do(func() error {
		c, err := net.Dial("tcp", f.Target().String())
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 5))
		return err
	}); err != nil {
		t.Error(err)
	}
	f.Stop()
	for _, v := range []*visor{f.near, f.far} {
		if _, err := os.Stat(v.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after Stop: %v", v.dir, err)
		}
		if err := v.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("visor %d after Stop: %v", v.PID(), err)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	e := testEnv(t)
	e.Self = filepath.Join(t.TempDir(), "skybench")
	if _, err := startVisor(t.Context(), e, nil, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("error %v, want one that says how to build the daemon", err)
	}
}
