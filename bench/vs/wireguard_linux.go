package vs

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/topo"
)

// The module that pins wireguard-go and all that it is built from.
var (
	//go:embed wireguard.mod
	wireguardMod []byte
	//go:embed wireguard.sum
	wireguardSum []byte
)

const (
	wireguardPort = 51820
	// wireguard-go makes its control socket in this directory, which all
	// namespaces share, and names it after the device. So the device's name is
	// unique: the prefix, the namespace's letter and our process id.
	socketDir    = "/var/run/wireguard"
	socketSuffix = ".sock"
	devPrefix    = "sky"
	// innerMTU leaves room in 1500 bytes for IPv4 (20), UDP (8), and header and
	// tag, which take 32 bytes in WireGuard as in nebula.
	innerMTU = topo.MTU - 60
)

// wireguard is wireguard-go at both ends.
type wireguard struct {
	cache string
	ends  [2]*daemon
	addr  netip.Addr // of b, inside
}

// NewWireGuard returns the Peer that is wireguard-go with a TUN device at both
// ends. It is built from its Go module into e.Cache on first use, which needs the
// go command and, unless the module is cached, the network.
func NewWireGuard(e *run.Env) Peer { return &wireguard{cache: e.Cache} }

func (w *wireguard) Name() string           { return WireGuard }
func (w *wireguard) Target() netip.AddrPort { return netip.AddrPortFrom(w.addr, ServerPort) }

func (w *wireguard) Start(ctx context.Context, l *topo.Link) error {
	program, err := buildWireGuard(ctx, w.cache)
	if err != nil {
		return err
	}
	if err := sweepSockets(socketDir); err != nil {
		return err
	}
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return fmt.Errorf("vs: wireguard key: %w", err)
		}
	}
	ends := [2]*topo.End{l.A, l.B}
	for i, end := range ends {
		dev := fmt.Sprintf("%s%s%d", devPrefix, end.NS.Name, os.Getpid())
		if w.ends[i], err = startDaemon(ctx, end.NS, program, "-f", dev); err != nil {
			return err
		}
		far := ends[1-i]
		settings := fmt.Sprintf("set=1\nprivate_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=%s\nallowed_ip=0.0.0.0/0\n\n",
			keys[i].Bytes(), wireguardPort,
			keys[1-i].PublicKey().Bytes(), netip.AddrPortFrom(far.IPv4.Addr(), wireguardPort))
		if err := w.ends[i].await(ctx, "control socket", func() error {
			return configure(filepath.Join(socketDir, dev+socketSuffix), settings)
		}); err != nil {
			return err
		}
		w.addr = netip.AddrFrom4([4]byte{10, 78, 0, byte(i + 1)})
		if err := end.NS.AddAddr(dev, netip.PrefixFrom(w.addr, 24)); err != nil {
			return err
		}
		if err := end.NS.SetMTU(dev, innerMTU); err != nil {
			return err
		}
	}
	return w.ends[0].await(ctx, "way to the far end", func() error { return tryTCP(l, w.addr) })
}

func (w *wireguard) Stop() {
	for _, d := range w.ends {
		d.stop() // wireguard-go removes its socket
	}
}

// sweepSockets removes the control sockets of runs that died without cleaning up.
func sweepSockets(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, devPrefix+"[ab]*"+socketSuffix))
	if err != nil {
		return fmt.Errorf("vs: sweep: %w", err)
	}
	for _, name := range names {
		pid := strings.TrimSuffix(filepath.Base(name)[len(devPrefix)+1:], socketSuffix)
		if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("vs: sweep: %w", err)
		}
	}
	return nil
}

// configure speaks wireguard's cross-platform user-space interface: one request,
// ended by an empty line, and one answer whose errno is 0 when all is well.
func configure(socket, settings string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, settings); err != nil {
		return err
	}
	answer := make([]byte, 256)
	n, err := c.Read(answer)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(answer[:n])); got != "errno=0" {
		return fmt.Errorf("vs: wireguard-go refuses its configuration: %s", got)
	}
	return nil
}

// buildWireGuard returns the program, building it into dir unless it is there.
func buildWireGuard(ctx context.Context, dir string) (string, error) {
	h := sha256.New()
	h.Write(wireguardMod)
	h.Write(wireguardSum)
	program := filepath.Join(dir, "wireguard-go-"+hex.EncodeToString(h.Sum(nil)[:8]))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	goTool, err := need("go", "golang-go")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("vs: cache: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", fmt.Errorf("vs: cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := errors.Join(
		os.WriteFile(filepath.Join(tmp, "go.mod"), wireguardMod, 0o644),
		os.WriteFile(filepath.Join(tmp, "go.sum"), wireguardSum, 0o644),
	); err != nil {
		return "", fmt.Errorf("vs: cache: %w", err)
	}
	cmd := exec.CommandContext(ctx, goTool, "build", "-mod=readonly", "-trimpath", "-o", "wireguard-go", "golang.zx2c4.com/wireguard")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("vs: building wireguard-go: %w\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "wireguard-go"), program); err != nil {
		return "", fmt.Errorf("vs: cache: %w", err)
	}
	return program, nil
}
