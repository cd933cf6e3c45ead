package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/skyminer/skywire/bench/cluster"
)

// A file is what the demo moves: random, so that nothing on the way can be clever.
type file struct {
	path string
	size int64
	sum  [sha256.Size]byte
}

// newFile makes one in dir.
func newFile(dir string, size int64) (*file, error) {
	f, err := os.Create(filepath.Join(dir, "sent"))
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.Reader, size)
	return &file{f.Name(), size, [sha256.Size]byte(h.Sum(nil))}, errors.Join(err, f.Close())
}

// A receiver is the TCP service at C: it stores what comes and says so.
type receiver struct {
	net.Listener
	path string
}

// open opens the service at a place.
func open(at cluster.Place, dir string) (*receiver, error) {
	ln, err := at.Open("127.0.0.1:0")
	return &receiver{ln, filepath.Join(dir, "received")}, err
}

// receive takes one file and confirms it with a byte.
func (r *receiver) receive() error {
	conn, err := r.Accept()
	if err != nil {
		return err
	}
	defer conn.Close() // the confirmation is the end
	f, err := os.Create(r.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, conn)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = conn.Write([]byte{1})
	return err
}

// send moves the file from a place to the receiver behind addr there, and returns
// how long it took until the receiver had it all.
func (f *file) send(from cluster.Place, addr string, to *receiver) (time.Duration, error) {
	received := make(chan error, 1)
	go func() { received <- to.receive() }()
	in, err := os.Open(f.path)
	if err != nil {
		return 0, err
	}
	defer in.Close() // only read
	start := time.Now()
	conn, err := from.Dial(addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close() // all is confirmed by then
	if _, err = io.Copy(conn, in); err == nil {
		err = conn.(*net.TCPConn).CloseWrite()
	}
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	return took, <-received
}

// check compares what arrived.
func (f *file) check(r *receiver) error {
	got, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer got.Close() // only read
	h := sha256.New()
	n, err := io.Copy(h, got)
	if err != nil {
		return err
	}
	if n != f.size || [sha256.Size]byte(h.Sum(nil)) != f.sum {
		return fmt.Errorf("SHA-256 differs: %d bytes with %x arrived, %d with %x were sent", n, h.Sum(nil), f.size, f.sum)
	}
	return nil
}
