//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A program runs as a process on loopback, and once more whenever a test wants that.
type program struct {
	t    *testing.T
	name string
	args []string
	log  *os.File
	cmd  *exec.Cmd // nil: it does not run
}

// run starts a program under test, and kills it with the test. What it logged is
// shown where the test fails.
func run(t *testing.T, name string, args ...string) *program {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, name: name, args: args, log: log}
	t.Cleanup(func() {
		p.kill()
		log.Close()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("log of %s:\n%s", name, text)
		}
	})
	p.start()
	return p
}

// start starts the process. Who needs it tries until it is there. It does not die with the
// thread that forked it (Pdeathsig): threads end here whenever something was done in a
// namespace.
func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(binaries, p.name), p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9, and returns when the process is gone.
func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed: there is always an error
	p.cmd = nil
}

// freeAddr returns a loopback address on which nobody listens at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// discovery runs skysvc dmsgdisc with the given store, and returns a client of it
// once it answers.
func discovery(t *testing.T, store string) (*program, *disc.HTTPClient) {
	t.Helper()
	addr := freeAddr(t)
	p := run(t, "skysvc", "dmsgdisc", "--test-mode", "--addr", addr, "--store", store)
	c, err := disc.New("http://"+addr, disc.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	eventually(t, 10*time.Second, "the discovery does not answer", func() bool { return answers(t, c) })
	return p, c
}

// answers says whether a discovery does, be it that it knows nobody.
func answers(t *testing.T, c *disc.HTTPClient) bool {
	_, err := c.AllServers(t.Context())
	return err == nil || errors.Is(err, disc.ErrNoServers)
}

// A loopRelay is a skydmsg that publishes itself.
type loopRelay struct {
	*program
	pk cipher.PubKey
}

// newLoopRelay runs one, and returns when the discovery knows it.
func newLoopRelay(t *testing.T, c *disc.HTTPClient) *loopRelay {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	key := filepath.Join(t.TempDir(), "relay.key")
	if err := cipher.SaveSecKey(key, sk); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	p := run(t, "skydmsg", "run", "--secret-key-file", key, "--addr", addr, "--public-addr", addr, "--discovery", c.URL(), "--health-addr=")
	eventually(t, 10*time.Second, "a relay does not publish itself", func() bool {
		_, err := c.Entry(t.Context(), pk)
		return err == nil
	})
	return &loopRelay{p, pk}
}

// A peer is a dmsg client of this process, and what it said.
type peer struct {
	*dmsg.Client
	t *testing.T

	mu     sync.Mutex
	events []dmsg.Event
}

// newPeer runs a client until the test ends, with sessions to as many relays as
// sessions says, and waits until it is published.
func newPeer(t *testing.T, sessions int, dir disc.Directory) *peer {
	t.Helper()
	p := &peer{t: t}
	cfg := dmsg.DefaultConfig()
	_, cfg.SecKey = cipher.GenerateKeyPair()
	cfg.Directory, cfg.MinSessions = dir, sessions
	cfg.OnEvent = func(e dmsg.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, e)
	}
	var err error
	if p.Client, err = dmsg.New(cfg); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-p.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("a client is not published within 10s")
	}
	return p
}

// said returns whether the client has told of such an event since a time.
func (p *peer) said(kind dmsg.EventKind, since time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.events, func(e dmsg.Event) bool { return e.Kind == kind && e.Time.After(since) })
}

// serve takes files on port 80 of the client's key.
func (p *peer) serve() *service {
	p.t.Helper()
	l, err := p.Listen(80)
	if err != nil {
		p.t.Fatal(err)
	}
	return startService(p.t, l)
}

// send dials port 80 of another client and begins to send a file.
func (p *peer) send(to *peer, size int64) (*transfer, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
	defer cancel()
	stream, err := p.Dial(ctx, proto.Addr{PK: to.PubKey(), Port: 80})
	if err != nil {
		return nil, err
	}
	return startTransfer(stream, size), nil
}

// mustSend sends a file that arrives.
func (p *peer) mustSend(to *peer) {
	p.t.Helper()
	x, err := p.send(to, 1<<20)
	if err == nil {
		err = <-x.done
	}
	if err != nil {
		p.t.Error(err)
	}
}

// A trickle is a file that goes little by little.
type trickle struct {
	stream *dmsg.Stream
	sum    hash.Hash
}

// newTrickle begins one to port 80 of another client.
func (p *peer) newTrickle(to *peer) *trickle {
	p.t.Helper()
	stream, err := p.Dial(p.t.Context(), proto.Addr{PK: to.PubKey(), Port: 80})
	if err != nil {
		p.t.Fatal(err)
	}
	return &trickle{stream, sha256.New()}
}

// more sends a little, and returns when the service has it.
func (x *trickle) more(t *testing.T, s *service) {
	t.Helper()
	b := make([]byte, 256<<10)
	crand.Read(b)
	x.sum.Write(b)
	before := s.received.Load()
	if _, err := x.stream.Write(b); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "nothing arrives", func() bool { return s.received.Load() == before+int64(len(b)) })
}

// end ends the file and compares its sum.
func (x *trickle) end(t *testing.T) {
	t.Helper()
	defer x.stream.Close()
	if err := x.stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(x.stream); err != nil || !bytes.Equal(got, x.sum.Sum(nil)) {
		t.Errorf("%x, %v; %x was sent", got, err, x.sum.Sum(nil))
	}
}
