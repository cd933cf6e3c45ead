package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// startTimeout bounds how long a program may take until it answers.
const startTimeout = 15 * time.Second

// A Program runs as a process, and once more whenever somebody wants that. One
// goroutine uses it.
type Program struct {
	Place Place
	Dir   string // what it keeps, and its log

	name string // file
	args []string
	p    Process
	stop context.CancelFunc
	done chan error // holds how the process ended, once it has
}

// newProgram returns a program of the folder bin that does not run yet.
func newProgram(place Place, bin, dir, name string, args ...string) *Program {
	done := make(chan error, 1)
	done <- nil
	return &Program{Place: place, Dir: dir, name: filepath.Join(bin, name), args: args, stop: func() {}, done: done}
}

// start runs the process, which gets SIGTERM when ctx ends.
func (p *Program) start(ctx context.Context) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(p.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	ctx, p.stop = context.WithCancel(ctx)
	p.p = p.Place.Command(ctx, log, log, p.name, p.args...)
	if err := p.p.Start(); err != nil {
		p.stop()
		return errors.Join(fmt.Errorf("cluster: %w", err), log.Close())
	}
	done := make(chan error, 1)
	p.done = done
	go func() { done <- errors.Join(p.p.Wait(), log.Close()) }()
	return nil
}

// await returns when ready does without an error, or why the program is not ready.
func (p *Program) await(ctx context.Context, ready func(context.Context) error) error {
	what := filepath.Base(p.name) + " at " + p.Place.Name
	end := time.Now().Add(startTimeout)
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case exit := <-p.done:
			p.done <- exit
			return fmt.Errorf("cluster: %s ended: %w\n%s", what, exit, p.Log())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), p.Stop())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("cluster: %s does not answer: %w\n%s", what, err, p.Log()), p.Stop())
		}
	}
}

// Log returns what the program has logged.
func (p *Program) Log() string {
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// PID returns the process id.
func (p *Program) PID() int { return p.p.PID() }

// Signal sends a signal to the process.
func (p *Program) Signal(s os.Signal) error { return p.p.Signal(s) }

// Wait waits until the program has ended and returns how: nil after exit code 0.
func (p *Program) Wait() error {
	err := <-p.done
	p.done <- err
	return err
}

// Stop ends the program, if it still runs, and waits for it.
func (p *Program) Stop() error {
	p.stop()
	err := p.Wait()
	if err == nil || errors.Is(err, context.Canceled) {
		return nil // that was us, and it ended well
	}
	return fmt.Errorf("cluster: %s at %s ended: %w", filepath.Base(p.name), p.Place.Name, err)
}

// Kill is kill -9, and returns when the process is gone.
func (p *Program) Kill() error {
	if err := p.p.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if p.Wait() == nil {
		return errors.New("cluster: " + filepath.Base(p.name) + " ended well after SIGKILL")
	}
	p.stop()
	p.done = make(chan error, 1)
	p.done <- nil // it ended as it was meant to
	return nil
}
