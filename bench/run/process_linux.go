package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/skyminer/skywire/bench/topo"
)

// A Process is a Role that runs in a namespace. One goroutine uses it.
type Process struct {
	role  string
	cmd   *topo.Cmd
	stdin io.Closer
	dec   *json.Decoder
	done  bool
}

// Start runs this program again as the named role inside ns and returns when it
// is ready. The caller owes it a Result. The process dies with ctx and with ns.
func (e *Env) Start(ctx context.Context, ns *topo.Namespace, role string, cfg any) (*Process, error) {
	config, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("bench: config of role %s: %w", role, err)
	}
	args := []string{role}
	if e.Profile != "" {
		if err := os.MkdirAll(e.Profile, 0o755); err != nil {
			return nil, fmt.Errorf("bench: profile: %w", err)
		}
		args = append(args, "--profile", e.profile(role))
	}
	p := &Process{role: role, cmd: ns.Command(ctx, e.Self, append(args, string(config))...)}
	p.cmd.Stderr = e.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("bench: role %s: %w", role, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: role %s: %w", role, err)
	}
	p.dec = json.NewDecoder(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: role %s: %w", role, err)
	}
	if err := p.dec.Decode(&struct{}{}); err != nil {
		return nil, fmt.Errorf("bench: role %s did not get ready: %w", role, p.end(err))
	}
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Result waits until the role has done its work and stores what it returned in v.
func (p *Process) Result(v any) error {
	if p.done {
		return fmt.Errorf("bench: role %s: result taken twice", p.role)
	}
	if err := p.end(p.dec.Decode(v)); err != nil {
		return fmt.Errorf("bench: role %s: %w", p.role, err)
	}
	return nil
}

// Stop asks the role to end and does what Result does.
func (p *Process) Stop(v any) error {
	p.stdin.Close()
	return p.Result(v)
}

// end reaps the process; its exit status explains an end of file.
func (p *Process) end(err error) error {
	p.done = true
	p.stdin.Close()
	wait := p.cmd.Wait()
	if errors.Is(err, io.EOF) && wait != nil {
		return wait
	}
	return errors.Join(err, wait)
}
