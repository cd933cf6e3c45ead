package topo

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a process may take to end after SIGTERM before SIGKILL.
const grace = 3 * time.Second

// A Cmd is an exec.Cmd whose process starts inside a namespace. It is killed
// when the namespace goes away or when this process dies.
type Cmd struct {
	*exec.Cmd
	ns *Namespace
}

// Command returns a Cmd that runs name inside ns. When ctx ends the process gets
// SIGTERM, and SIGKILL 3 s later.
func (ns *Namespace) Command(ctx context.Context, name string, args ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, name, args...), ns: ns}
	// Sent when the thread that forked ends, and that one lives as long as ns.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = grace
	return c
}

// Start is exec.Cmd's Start, inside the namespace.
func (c *Cmd) Start() error { return c.ns.onThread(c.Cmd.Start) }

// Run is exec.Cmd's Run, inside the namespace.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is exec.Cmd's Output, inside the namespace.
func (c *Cmd) Output() ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput is exec.Cmd's CombinedOutput, inside the namespace.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}
