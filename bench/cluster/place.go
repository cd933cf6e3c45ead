// Package cluster runs whole programs as processes, each in a Place, and commands
// visors with skyctl: what an operator does, for demonstrations and tests.
package cluster

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Process is what exec.Cmd is of a process.
type Process interface {
	Start() error
	Wait() error
	// Signal and PID are for a process that was started and not waited for.
	Signal(os.Signal) error
	PID() int
}

// A Place is a machine, or what stands for one.
type Place struct {
	Name string
	// Listen is where a visor takes links: IP:port.
	Listen string
	// Host is how others reach this place: an IP address, "" if they do not.
	Host string
	// Shared says that other places have the same addresses, so that ports are not free.
	Shared bool
	// Command makes a process that writes what it has to say to out and errw and gets
	// SIGTERM when ctx ends. Dial and Open make sockets here.
	Command func(ctx context.Context, out, errw io.Writer, name string, args ...string) Process
	Dial    func(addr string) (net.Conn, error)
	Open    func(addr string) (net.Listener, error)
}

// grace is how long a process may take to end after SIGTERM.
const grace = 5 * time.Second

// Loopback returns a Place that is this machine.
func Loopback(name string) Place {
	return Place{
		Name:   name,
		Listen: "127.0.0.1:0",
		Host:   "127.0.0.1",
		Shared: true,
		Command: func(ctx context.Context, out, errw io.Writer, name string, args ...string) Process {
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Stdout, cmd.Stderr = out, errw
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			cmd.WaitDelay = grace
			return process{cmd}
		},
		Dial: func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) },
		Open: func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) },
	}
}

// process is an exec.Cmd as a Process.
type process struct{ *exec.Cmd }

func (p process) Signal(s os.Signal) error { return p.Process.Signal(s) }
func (p process) PID() int                 { return p.Process.Pid }

// HTTP returns a client whose connections begin here. The caller closes its idle
// connections.
func (p Place) HTTP() *http.Client {
	return &http.Client{Timeout: startTimeout, Transport: &http.Transport{
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) { return p.Dial(addr) },
	}}
}

// addr returns where others reach a program here that has this TCP port by default: at
// that port or, where the place is shared, at a free one.
func (p Place) addr(port string) (string, error) {
	if p.Shared {
		return p.Free(p.Host)
	}
	return net.JoinHostPort(p.Host, port), nil
}

// Free returns an address of this place, an IP address, with a TCP port that was free a
// moment ago.
func (p Place) Free(ip string) (string, error) {
	l, err := p.Open(net.JoinHostPort(ip, "0"))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
