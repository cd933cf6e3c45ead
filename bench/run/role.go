package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
)

// A Role is something that this program does as a helper process in a namespace:
// a sender, a receiver. See Env.Start for the parent's side.
//
// Parent and child speak JSON lines: the child writes {} on stdout when it is
// ready and its result when it ends; it ends when its work is done or when its
// stdin is closed.
type Role struct {
	Name string // hidden command of skybench
	run  func(ctx context.Context, config []byte, ready func()) (any, error)
}

// NewRole makes f a Role. f gets the parent's config, calls ready once, and
// returns its result when it is done or when ctx has ended.
func NewRole[C, R any](name string, f func(ctx context.Context, cfg C, ready func()) (R, error)) Role {
	return Role{Name: name, run: func(ctx context.Context, config []byte, ready func()) (any, error) {
		var cfg C
		if err := json.Unmarshal(config, &cfg); err != nil {
			return nil, fmt.Errorf("bench: config of role %s: %w", name, err)
		}
		return f(ctx, cfg, ready)
	}}
}

// Serve plays the role in this process; config is what Env.Start was given, in
// JSON. With a profile file name it writes a CPU profile there.
func (r Role) Serve(ctx context.Context, config []byte, profile string, stdin io.Reader, stdout io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// The parent's only word on this pipe is its end. The goroutine outlives
		// the role when stdin stays open; the process is about to exit then.
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	if profile != "" {
		stop, err := startProfile(profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	enc := json.NewEncoder(stdout)
	result, err := r.run(ctx, config, func() { _ = enc.Encode(struct{}{}) }) // a parent that has gone ends us by stdin
	if err != nil {
		return err
	}
	if err := enc.Encode(result); err != nil {
		return fmt.Errorf("bench: result of role %s: %w", r.Name, err)
	}
	return nil
}

func startProfile(name string) (stop func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("bench: profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
