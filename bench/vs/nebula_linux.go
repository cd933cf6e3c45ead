package vs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/skyminer/skywire/bench/topo"
)

const (
	nebulaPort = 4242
	// nebulaBuffer is what nebula's example configuration suggests for its socket
	// in bytes; a fifth faster here than without. Two routines were slower.
	nebulaBuffer = 10 << 20
)

// nebula is nebula at both ends, with a certificate authority of its own.
type nebula struct {
	dir  string // certificates and configuration, removed by Stop
	ends [2]*daemon
	addr netip.Addr // of b, inside
}

// NewNebula returns the Peer that is nebula from the Debian package of that name,
// with its ChaCha20-Poly1305 cipher.
func NewNebula() Peer { return &nebula{} }

func (n *nebula) Name() string           { return Nebula }
func (n *nebula) Target() netip.AddrPort { return netip.AddrPortFrom(n.addr, ServerPort) }

func (n *nebula) Start(ctx context.Context, l *topo.Link) error {
	program, err := need("nebula", "nebula")
	if err != nil {
		return err
	}
	cert, err := need("nebula-cert", "nebula")
	if err != nil {
		return err
	}
	if n.dir, err = os.MkdirTemp("", "skybench-nebula-"); err != nil {
		return fmt.Errorf("vs: nebula: %w", err)
	}
	if err := n.command(ctx, cert, "ca", "-name", "skybench"); err != nil {
		return err
	}
	ends := [2]*topo.End{l.A, l.B}
	inside := [2]netip.Addr{netip.AddrFrom4([4]byte{10, 79, 0, 1}), netip.AddrFrom4([4]byte{10, 79, 0, 2})}
	n.addr = inside[1]
	for i, end := range ends {
		name := end.NS.Name
		if err := n.command(ctx, cert, "sign", "-name", name, "-ip", inside[i].String()+"/24"); err != nil {
			return err
		}
		file := filepath.Join(n.dir, name+".json")
		if err := n.writeConfig(file, name, inside[1-i], ends[1-i].IPv4.Addr()); err != nil {
			return err
		}
		if n.ends[i], err = startDaemon(ctx, end.NS, program, "-config", file); err != nil {
			return err
		}
	}
	return n.ends[0].await(ctx, "way to the far end", func() error { return tryTCP(l, n.addr) })
}

// command runs a program in n.dir.
func (n *nebula) command(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = n.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("vs: %s: %w\n%s", program, err, out)
	}
	return nil
}

// writeConfig writes the least that nebula wants; JSON is YAML.
func (n *nebula) writeConfig(file, name string, farInside, farOutside netip.Addr) error {
	type object = map[string]any
	all := []object{{"port": "any", "proto": "any", "host": "any"}}
	b, err := json.Marshal(object{
		"pki": object{
			"ca":   filepath.Join(n.dir, "ca.crt"),
			"cert": filepath.Join(n.dir, name+".crt"),
			"key":  filepath.Join(n.dir, name+".key"),
		},
		"static_host_map": object{
			farInside.String(): []string{netip.AddrPortFrom(farOutside, nebulaPort).String()},
		},
		"listen": object{
			"host": "0.0.0.0", "port": nebulaPort,
			"read_buffer": nebulaBuffer, "write_buffer": nebulaBuffer,
		},
		"cipher":   "chachapoly",
		"tun":      object{"dev": "nebula", "mtu": innerMTU},
		"firewall": object{"outbound": all, "inbound": all},
	})
	if err != nil {
		return fmt.Errorf("vs: nebula: %w", err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("vs: nebula: %w", err)
	}
	return nil
}

func (n *nebula) Stop() {
	for _, d := range n.ends {
		d.stop()
	}
	if n.dir != "" {
		os.RemoveAll(n.dir)
	}
}
