package vs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/skyminer/skywire/bench/topo"
)

// startTimeout is how long a peer may take to come up.
const startTimeout = 15 * time.Second

// A daemon is a program that runs in a namespace until it is stopped.
type daemon struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
	log    tail
}

func startDaemon(ctx context.Context, ns *topo.Namespace, program string, args ...string) (*daemon, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &daemon{name: program, cancel: cancel, done: make(chan struct{})}
	cmd := ns.Command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &d.log, &d.log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("vs: %s: %w", program, err)
	}
	go func() {
		defer close(d.done)
		d.err = cmd.Wait()
	}()
	return d, nil
}

// stop ends the program and waits for it. A nil daemon is none.
func (d *daemon) stop() {
	if d != nil {
		d.cancel()
		<-d.done
	}
}

// await calls try until it returns nil, the daemon ends or startTimeout is over,
// and explains a failure with what the daemon said last.
func (d *daemon) await(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond) // programs that do not tell when they are ready
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.done:
			return fmt.Errorf("vs: %s ended before %s: %w\n%s", d.name, what, d.err, &d.log)
		case <-ctx.Done():
			return fmt.Errorf("vs: %s: no %s: %w\n%s", d.name, what, err, &d.log)
		}
	}
}

// tryTCP opens and closes a TCP connection from l.A's namespace to an address in
// l.B's: proof that packets cross both ways.
func tryTCP(l *topo.Link, to netip.Addr) error {
	ln, err := l.B.NS.Listen(netip.AddrPortFrom(to, 0).String())
	if err != nil {
		return err
	}
	defer ln.Close()
	return l.A.NS.Do(func() error {
		c, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// A tail keeps the last 2 KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
