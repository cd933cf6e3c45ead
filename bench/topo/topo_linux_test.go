package topo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "leave-namespace" {
		leaveNamespace()
	}
	goleak.VerifyTestMain(m)
}

// leaveNamespace is a run that dies without cleaning up.
func leaveNamespace() {
	n, err := Chain(zerolog.Nop(), 1)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(n.NS[0].Path)
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// needRoot skips for developers without root, but never in CI.
func needRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root for network namespaces, and CI must have it")
	}
	t.Skip("needs root for network namespaces")
}

func closeAtEnd(t *testing.T, n *Net) {
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// echo answers datagrams at addr until the test ends.
func echo(t *testing.T, ns *Namespace, addr netip.Addr) string {
	c, err := ns.ListenPacket(netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().String()
}

// dial returns a connected UDP socket inside ns.
func dial(t *testing.T, ns *Namespace, addr string) net.Conn {
	var c net.Conn
	if err := ns.Do(func() (err error) {
		c, err = net.Dial("udp", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

// ask says hello until it comes back: a busy kernel may lose a datagram. That wires lose
// none by themselves is TestJoinPassesAtOnce's.
func ask(c net.Conn) (err error) {
	for range 10 {
		if _, err = c.Write([]byte("hello")); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		var n int
		if n, err = c.Read(make([]byte, 16)); err == nil && n != 5 {
			return fmt.Errorf("%d bytes came back", n)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return err
}

func TestTriangle(t *testing.T) {
	needRoot(t)
	n, err := Triangle(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	var got []string
	for _, l := range n.Links {
		got = append(got, l.A.NS.Name+l.B.NS.Name)
		for _, addr := range []netip.Addr{l.B.IPv4.Addr(), l.B.IPv6.Addr()} {
			if err := ask(dial(t, l.A.NS, echo(t, l.B.NS, addr))); err != nil {
				t.Errorf("%s to %s: %v", l.A.NS.Name, addr, err)
			}
		}
	}
	if want := "ab bc ad dc"; strings.Join(got, " ") != want {
		t.Errorf("links %v, want %v", got, want)
	}
}

// Neither end of a new wire may lose its first datagram, to the carrier or to ARP.
func TestJoinPassesAtOnce(t *testing.T) {
	needRoot(t)
	for range 3 {
		n, err := Chain(zerolog.Nop(), 2)
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, n)
		l := n.Links[0]
		for _, way := range [][2]*End{{l.A, l.B}, {l.B, l.A}} {
			c := dial(t, way[0].NS, echo(t, way[1].NS, way[1].IPv4.Addr()))
			if _, err := c.Write([]byte("first")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 16)); err != nil {
				t.Fatalf("from %s: %v", way[0].NS.Name, err)
			}
			neigh, err := way[0].NS.nl.NeighList(0, netlink.FAMILY_V4)
			if err != nil || len(neigh) != 1 || neigh[0].State != netlink.NUD_PERMANENT {
				t.Errorf("neighbours of %s: %v, %v", way[0].NS.Name, neigh, err)
			}
		}
	}
}

func TestCommandRunsInside(t *testing.T) {
	needRoot(t)
	n, err := Chain(zerolog.Nop(), 2)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	outside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.NS[0].Command(t.Context(), "readlink", "/proc/self/ns/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	var inside string
	if err := n.NS[0].Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != inside || got == outside {
		t.Errorf("command ran in %s, Do in %s, we are in %s", got, inside, outside)
	}
	const sysctl = "net/ipv4/tcp_rmem"
	if err := n.NS[0].Sysctl(sysctl, "4096\t65536\t131072"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		out, err := n.NS[i].Command(t.Context(), "cat", "/proc/sys/"+sysctl).Output()
		if got := strings.TrimSpace(string(out)) == "4096\t65536\t131072"; got != want || err != nil {
			t.Errorf("%s in %s is %q, %v", sysctl, n.NS[i].Name, out, err)
		}
	}
	out, err = n.NS[1].Command(t.Context(), "cat", "/nonexistent").CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok || !strings.Contains(string(out), "nonexistent") {
		t.Errorf("failing command: %q, %v", out, err)
	}
	if want := errors.New("mine"); n.NS[0].Do(func() error { return want }) != want {
		t.Error("Do lost the error")
	}
}

// Close removes the namespaces, and what runs in them dies.
func TestClose(t *testing.T) {
	needRoot(t)
	n, err := Chain(zerolog.Nop(), 2)
	if err != nil {
		t.Fatal(err)
	}
	ns := n.NS[0]
	cmd := ns.Command(context.Background(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("process ended with %v, want killed", err)
	}
	if _, err := os.Stat(ns.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s after Close: %v", ns.Path, err)
	}
	if err := ns.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v, want ErrClosed", err)
	}
	if err := ns.Command(t.Context(), "true").Run(); !errors.Is(err, ErrClosed) {
		t.Errorf("Command after Close: %v, want ErrClosed", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestSweep(t *testing.T) {
	needRoot(t)
	alive, err := Chain(zerolog.Nop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, alive)
	out, err := exec.Command(os.Args[0], "leave-namespace").Output()
	if err == nil {
		t.Fatal("the run that should have killed itself ended well")
	}
	left := strings.TrimSpace(string(out))
	if _, err := os.Stat(left); err != nil {
		t.Fatalf("the dead run left nothing: %v", err)
	}
	// Another test's New may sweep first, so the count says nothing.
	if _, err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s after Sweep: %v", left, err)
	}
	if _, err := os.Stat(alive.NS[0].Path); err != nil {
		t.Errorf("Sweep took a living namespace: %v", err)
	}
}

func TestDead(t *testing.T) {
	start, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		want bool
	}{
		{fmt.Sprintf("sky-%d-%s-abc-a", os.Getpid(), start), false},
		{fmt.Sprintf("sky-%d-%s1-abc-a", os.Getpid(), start), true}, // pid used again
		{"sky-99999999-1-abc-a", true},
		{"sky-0-1-abc-a", false},
		{"sky-x-1-abc-a", false},
		{"sky-99999999", false},
		{"vpn-99999999-1-abc-a", false},
	}
	for _, tt := range tests {
		if got := dead(tt.name); got != tt.want {
			t.Errorf("dead(%q) = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// received sends count datagrams from a to b and returns how many arrived: what
// came before one that was sent without loss, over loopback.
func received(t *testing.T, l *Link, count int) int {
	sink, err := l.B.NS.ListenPacket(netip.AddrPortFrom(l.B.IPv4.Addr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	sink.SetReadDeadline(time.Now().Add(10 * time.Second))
	c := dial(t, l.A.NS, sink.LocalAddr().String())
	local := dial(t, l.B.NS, sink.LocalAddr().String())
	buf := make([]byte, 16)
	got := 0
	for range count {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := local.Write([]byte("end")); err != nil {
			t.Fatal(err)
		}
		for {
			n, _, err := sink.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			if n == len("end") {
				break
			}
			got++
		}
	}
	return got
}

func TestDrop(t *testing.T) {
	needRoot(t)
	const count = 2000
	tests := []struct {
		share     float64
		low, high int // what may arrive; at 0.5 that is 9 sigma
	}{
		{0, count - 20, count}, // a straggler counts as lost
		{0.5, 800, 1200},
		{1, 0, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.share), func(t *testing.T) {
			n, err := Chain(zerolog.Nop(), 2)
			if err != nil {
				t.Fatal(err)
			}
			closeAtEnd(t, n)
			l := n.Links[0]
			if got := received(t, l, 1); got != 1 {
				t.Fatal("nothing crossed without loss")
			}
			if err := l.B.Drop(tt.share); err != nil {
				t.Fatal(err)
			}
			if got := received(t, l, count); got < tt.low || got > tt.high {
				t.Errorf("%d of %d arrived, want %d..%d", got, count, tt.low, tt.high)
			}
		})
	}
	if err := (&End{}).Drop(1.1); err == nil {
		t.Error("Drop took 1.1")
	}
}

// A transfer of 200 kB over 8 Mbit/s cannot take less than (200 − burst) ms.
func TestRate(t *testing.T) {
	needRoot(t)
	n, err := Chain(zerolog.Nop(), 2)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	l := n.Links[0]
	if err := l.A.NoGSO(); err != nil {
		t.Fatal(err)
	}
	if err := l.A.Rate(8e6, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	ln, err := l.B.NS.Listen(netip.AddrPortFrom(l.B.IPv4.Addr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan int64, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			done <- -1
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		done <- n
	}()
	const size = 200_000
	start := time.Now()
	if err := l.A.NS.Do(func() error {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(make([]byte, size))
		return err
	}); err != nil {
		ln.Close()
		t.Fatal(err)
	}
	if got := <-done; got != size {
		t.Fatalf("%d bytes arrived", got)
	}
	if took := time.Since(start); took < 180*time.Millisecond {
		t.Errorf("%d bytes took %v at 8 Mbit/s", size, took)
	}
}

func TestJoinDelayed(t *testing.T) {
	needRoot(t)
	n, err := New(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	for _, name := range []string{"a", "b"} {
		if _, err := n.Namespace(name); err != nil {
			t.Fatal(err)
		}
	}
	const delay = 40 * time.Millisecond
	l, err := n.JoinDelayed(n.NS[0], n.NS[1], Wire{Delay: delay, Rate: 100e6})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []netip.Addr{l.B.IPv4.Addr(), l.B.IPv6.Addr()} {
		c := dial(t, l.A.NS, echo(t, l.B.NS, addr))
		for size := range 3 {
			start := time.Now()
			if _, err := c.Write(make([]byte, 700*size)); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(make([]byte, 2048)); n != 700*size || err != nil {
				t.Fatalf("over %s: %d bytes, %v, want %d", addr, n, err, 700*size)
			}
			if rtt := time.Since(start); rtt < 2*delay {
				t.Errorf("over %s: round trip %v, want at least %v", addr, rtt, 2*delay)
			}
		}
	}
}

// A TUN device that nobody reads from keeps tunQueue packets and loses the rest.
func TestDropped(t *testing.T) {
	needRoot(t)
	n, err := New(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, n)
	ns, err := n.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	end := &End{NS: ns, Dev: "to-nobody", IPv4: netip.MustParsePrefix("10.77.0.1/24")}
	dev, err := end.openTUN()
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if err := ns.AddAddr(end.Dev, end.IPv4); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ send, least, most int }{{1000, 0, 0}, {tunQueue, 900, tunQueue}} {
		if err := ns.Do(func() error {
			c, err := net.Dial("udp", "10.77.0.2:9")
			if err != nil {
				return err
			}
			defer c.Close()
			for range tt.send {
				if _, err := c.Write([]byte("x")); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got, err := end.Dropped(); err != nil || got < uint64(tt.least) || got > uint64(tt.most) {
			t.Errorf("%d packets more: %d dropped, %v, want %d to %d", tt.send, got, err, tt.least, tt.most)
		}
	}
	end.Dev = "none"
	if _, err := end.Dropped(); err == nil {
		t.Error("no error for a device that does not exist")
	}
}
