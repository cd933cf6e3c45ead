package topo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrClosed says that the namespace is gone.
var ErrClosed = errors.New("topo: namespace closed")

// A Namespace is one network namespace. An operating system thread lives inside
// it for as long as it exists; processes are forked from that thread, and die
// with it.
type Namespace struct {
	Name string // within its Net: "a", "b", …
	Path string // file that setns(2) takes

	full   string
	handle netns.NsHandle
	nl     *netlink.Handle
	work   chan func()   // run on the thread inside
	stop   chan struct{} // closed by close
	gone   chan struct{} // closed when the thread has left its loop
	once   sync.Once
}

func newNamespace(full, name string) (*Namespace, error) {
	ns := &Namespace{
		Name: name, Path: "/run/netns/" + full, full: full,
		work: make(chan func()), stop: make(chan struct{}), gone: make(chan struct{}),
	}
	ready := make(chan error)
	go ns.live(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("topo: namespace %s: %w", full, err)
	}
	return ns, nil
}

// live is the thread inside: it makes the namespace, then runs what it is given.
func (ns *Namespace) live(ready chan<- error) {
	// Never unlocked: the thread must not go back to the pool with a foreign
	// namespace, so it ends with this goroutine.
	runtime.LockOSThread()
	defer close(ns.gone)
	if err := ns.make(); err != nil {
		ready <- err
		return
	}
	ready <- nil
	for {
		select {
		case f := <-ns.work:
			f()
		case <-ns.stop:
			return
		}
	}
}

// make leaves nothing behind when it fails.
func (ns *Namespace) make() (err error) {
	if ns.handle, err = netns.NewNamed(ns.full); err != nil {
		return err
	}
	if ns.nl, err = netlink.NewHandle(); err == nil {
		var lo netlink.Link
		if lo, err = ns.nl.LinkByName("lo"); err == nil {
			err = ns.nl.LinkSetUp(lo)
		}
	}
	if err != nil {
		return errors.Join(err, ns.release())
	}
	return nil
}

func (ns *Namespace) release() error {
	if ns.nl != nil {
		ns.nl.Close()
	}
	return errors.Join(ns.handle.Close(), netns.DeleteNamed(ns.full))
}

func (ns *Namespace) close() error {
	var err error
	ns.once.Do(func() {
		close(ns.stop)
		<-ns.gone
		err = ns.release()
	})
	return err
}

// onThread runs f on the thread that lives in ns. f must be short.
func (ns *Namespace) onThread(f func() error) error {
	done := make(chan error, 1)
	select {
	case ns.work <- func() { done <- f() }:
		return <-done
	case <-ns.stop:
		return ErrClosed
	}
}

// Do runs f in a new thread inside ns and returns f's error. Sockets that f
// opens stay in ns after it has returned. Goroutines that f starts are outside.
func (ns *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine, see live
		file, err := os.Open(ns.Path)
		if err != nil {
			done <- fmt.Errorf("topo: entering %s: %w", ns.Name, errors.Join(ErrClosed, err))
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("topo: entering %s: %w", ns.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Sysctl sets a kernel parameter of ns, such as "net/ipv4/tcp_rmem".
func (ns *Namespace) Sysctl(name, value string) error {
	return ns.Do(func() error {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("topo: sysctl in %s: %w", ns.Name, err)
		}
		return nil
	})
}

// Listen announces on a TCP address of ns.
func (ns *Namespace) Listen(addr string) (l net.Listener, err error) {
	err = ns.Do(func() error {
		l, err = net.Listen("tcp", addr)
		return err
	})
	return l, err
}

// ListenPacket announces on a UDP address of ns.
func (ns *Namespace) ListenPacket(addr string) (c net.PacketConn, err error) {
	err = ns.Do(func() error {
		c, err = net.ListenPacket("udp", addr)
		return err
	})
	return c, err
}
