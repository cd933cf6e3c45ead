// Package cluster runs whole visors as processes, each in a Place, and commands
// them with skyctl: what an operator does, for demonstrations and tests.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Process is what exec.Cmd is of a process.
type Process interface {
	Start() error
	Wait() error
}

// A Place is a machine, or what stands for one.
type Place struct {
	Name string
	// Listen is where a visor takes links: IP:port.
	Listen string
	// Command makes a process that writes what it has to say to log and gets
	// SIGTERM when ctx ends. Dial and Open make sockets here.
	Command func(ctx context.Context, log io.Writer, name string, args ...string) Process
	Dial    func(addr string) (net.Conn, error)
	Open    func(addr string) (net.Listener, error)
}

// Loopback returns a Place that is this machine.
func Loopback(name string) Place {
	return Place{
		Name:   name,
		Listen: "127.0.0.1:0",
		Command: func(ctx context.Context, log io.Writer, name string, args ...string) Process {
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Stdout, cmd.Stderr = log, log
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			cmd.WaitDelay = 5 * time.Second
			return cmd
		},
		Dial: func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) },
		Open: func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) },
	}
}

// A Visor is a running skyvisor. Its methods are not for concurrent use; its Client
// is.
type Visor struct {
	*api.Client
	Place Place
	PK    cipher.PubKey
	Dir   string // its configuration and its log
	File  string // its configuration

	bin  string
	stop context.CancelFunc
	done chan error
}

// startTimeout bounds how long a visor may take until it answers.
const startTimeout = 15 * time.Second

// Start makes a key and a configuration in dir, runs skyvisor from the folder bin,
// and returns when it answers. edit, if not nil, changes the configuration.
func Start(ctx context.Context, place Place, bin, dir string, edit func(*config.Config)) (*Visor, error) {
	pk, sk := cipher.GenerateKeyPair()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := cipher.SaveSecKey(filepath.Join(dir, config.KeyFileName), sk); err != nil {
		return nil, err
	}
	c := config.Default()
	c.SecretKeyFile = config.KeyFileName
	c.ListenUDP, c.ListenTCP = place.Listen, place.Listen
	if edit != nil {
		edit(&c)
	}
	file := filepath.Join(dir, config.FileName)
	if err := config.Save(file, c); err != nil {
		return nil, err
	}
	v := &Visor{
		Client: api.NewClient(conf.Resolve(file, c.APISocket)),
		Place:  place, PK: pk, Dir: dir, File: file, bin: bin,
	}
	return v, v.Restart(ctx)
}

// Restart runs a visor that has ended once more, with the same key and what its
// configuration says now, and returns when it answers.
func (v *Visor) Restart(ctx context.Context) error {
	ctx, v.stop = context.WithCancel(ctx)
	done := make(chan error, 1)
	v.done = done
	log, err := os.OpenFile(filepath.Join(v.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		done <- nil
		return fmt.Errorf("cluster: %w", err)
	}
	p := v.Place.Command(ctx, log, filepath.Join(v.bin, "skyvisor"), "--config", v.File)
	if err := p.Start(); err != nil {
		done <- nil
		return errors.Join(fmt.Errorf("cluster: %w", err), log.Close())
	}
	go func() { done <- errors.Join(p.Wait(), log.Close()) }()
	return v.await(ctx)
}

// await returns when the visor answers, or why it does not.
func (v *Visor) await(ctx context.Context) error {
	end := time.Now().Add(startTimeout)
	for {
		_, err := v.Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case exit := <-v.done:
			v.done <- nil
			return fmt.Errorf("cluster: visor %s ended: %w\n%s", v.Place.Name, exit, v.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("cluster: visor %s does not answer: %w\n%s", v.Place.Name, err, v.Log()), v.Stop())
		}
	}
}

// Log returns what the visor has logged.
func (v *Visor) Log() string {
	b, err := os.ReadFile(filepath.Join(v.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Wait waits until the visor has ended and returns how: nil after exit code 0.
func (v *Visor) Wait() error {
	err := <-v.done
	v.done <- nil
	return err
}

// Stop ends the visor, if it still runs, and waits for it.
func (v *Visor) Stop() error {
	v.Close()
	v.stop()
	err := v.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // that was us, and it ended well
	}
	return err
}

// Ctl runs skyctl on the visor.
func (v *Visor) Ctl(ctx context.Context, args ...string) (string, error) {
	socket := filepath.Join(v.Dir, config.Default().APISocket)
	cmd := exec.CommandContext(ctx, filepath.Join(v.bin, "skyctl"), append([]string{"--socket", socket}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cluster: at %s: skyctl %s: %w: %s", v.Place.Name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Addr returns where the visor takes links of a type; host is put in the place of an
// unspecified address.
func (v *Visor) Addr(ctx context.Context, typ string, host netip.Addr) (string, error) {
	s, err := v.Status(ctx)
	if err != nil {
		return "", err
	}
	text := s.ListenUDP
	if typ == api.STCPR {
		text = s.ListenTCP
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return "", fmt.Errorf("cluster: visor %s takes no %s links: %w", v.Place.Name, typ, err)
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(host, at.Port())
	}
	return at.String(), nil
}
