// Package redistest starts real Redis servers for tests: on loopback, on free
// ports, in folders of their own, and stops them with the test.
package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTime is how long a server, or a cluster of them, may take to be ready on a
// busy machine.
const startTime = 30 * time.Second

// A Server is one redis-server. Its methods belong to the goroutine of the test.
type Server struct {
	Addr string // host:port
	port int
	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
	end  chan struct{} // closed when the process has ended
	out  bytes.Buffer  // of the process; read it after it has ended
}

// need returns the path of a program of the redis package. Where it is missing the
// test is skipped, but it fails in the CI, which must have it.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" { //nolint:forbidigo // a package for tests; this is how all of ours tell
			t.Fatalf("needs %s, and CI must have it", program)
		}
		t.Skipf("needs %s: apt-get install redis-server", program)
	}
	return path
}

// Start starts one server that keeps what it has acknowledged even over a kill -9.
// (With the usual appendfsync everysec it answers before it writes while a sync is
// under way.) args are further settings (--name, value).
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, append([]string{"--appendonly", "yes", "--appendfsync", "always", "--save", ""}, args...)...)
}

// start starts a server. Its port was free a moment ago; should somebody else have
// taken it meanwhile, it is tried with another.
func start(t testing.TB, args ...string) *Server {
	t.Helper()
	need(t, "redis-server")
	need(t, "redis-cli")
	s := &Server{t: t, dir: t.TempDir()}
	t.Cleanup(s.Kill)
	for range 5 {
		s.port = freePort(t)
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
		s.args = append(slices.Clone(args),
			"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--loglevel", "warning", "--daemonize", "no")
		if s.start() == nil {
			return s
		}
	}
	t.Fatalf("redis-server does not start:\n%s", s.out.String())
	return nil
}

// freePort returns a port on which nobody listens. It is such that also the bus of a
// cluster, 10,000 above, is out of the range that the kernel gives to clients.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 16000 + rand.IntN(6000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// start starts the process and waits until it answers.
func (s *Server) start() error {
	s.out.Reset()
	s.cmd = exec.Command("redis-server", s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.SysProcAttr = dieWithParent()
	s.end = make(chan struct{})
	started := make(chan error, 1)
	go func(cmd *exec.Cmd, end chan struct{}) {
		// What dies with its parent dies with the thread that forked it; this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // it is killed in the end: there is always an error
		close(end)
	}(s.cmd, s.end)
	if err := <-started; err != nil {
		return err
	}
	err := until(startTime, func() (bool, error) {
		select {
		case <-s.end:
			return false, errors.New("it has ended")
		default:
			return ping(s.Addr), nil
		}
	})
	if err != nil {
		s.Kill()
	}
	return err
}

// ping says whether the server at addr answers and is ready.
func ping(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return false
	}
	b := make([]byte, 5)
	_, err = io.ReadFull(c, b)
	return err == nil && (string(b) == "+PONG" || string(b) == "-NOAU") // NOAUTH: wants a password
}

// until polls f until it is true.
func until(limit time.Duration, f func() (bool, error)) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if ok, err := f(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("timed out")
		}
	}
}

// URL returns the address of the store on this server alone.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Kill ends the server at once (kill -9). It may be called again.
func (s *Server) Kill() {
	if s.end == nil {
		return
	}
	_ = s.cmd.Process.Kill() // an error says that it has ended already
	<-s.end
}

// Restart starts a killed server anew, on the same port, with what it had kept.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("redis-server does not start again: %v\n%s", err, s.out.String())
	}
}

// Pause makes the server hang until Resume: connections stay, nothing is answered.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do runs a command on the server and returns its answer as redis-cli prints it.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(s.port)}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("redis-cli %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Cluster starts three servers that form a cluster and returns them with the address
// of the store on them. A part of the slots goes on where another server is missing.
func Cluster(t testing.TB) (url string, servers []*Server) {
	t.Helper()
	cli := need(t, "redis-cli")
	args := []string{"--cluster", "create"}
	var addrs []string
	for range 3 {
		s := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
		servers, addrs = append(servers, s), append(addrs, s.Addr)
	}
	out, err := exec.Command(cli, append(append(args, addrs...), "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
	err = until(startTime, func() (bool, error) {
		for _, s := range servers {
			if !strings.Contains(s.Do("CLUSTER", "INFO"), "cluster_state:ok") {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("the cluster does not form: %v", err)
	}
	return "redis+cluster://" + strings.Join(addrs, ","), servers
}

// Sentinel starts a master, a replica of it and a Sentinel that makes the replica
// the master when that is gone for half a second.
func Sentinel(t testing.TB) (url string, master, replica, sentinel *Server) {
	t.Helper()
	master = Start(t)
	replica = Start(t, "--replicaof", fmt.Sprintf("127.0.0.1 %d", master.port), "--repl-diskless-sync-delay", "0")
	// A Sentinel that finds the replica there already need not ask again, 10 s later.
	err := until(startTime, func() (bool, error) {
		return strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up"), nil
	})
	if err != nil {
		t.Fatalf("the replica does not follow: %v", err)
	}
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor m 127.0.0.1 %d 1\nsentinel down-after-milliseconds m 500\nsentinel failover-timeout m 3000\n", master.port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel = start(t, conf, "--sentinel")
	err = until(startTime, func() (bool, error) {
		return strings.Contains(sentinel.Do("SENTINEL", "REPLICAS", "m"), strconv.Itoa(replica.port)), nil
	})
	if err != nil {
		t.Fatalf("the Sentinel does not find the replica: %v", err)
	}
	return "redis+sentinel://" + sentinel.Addr + "/m", master, replica, sentinel
}
