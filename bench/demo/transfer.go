package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
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

// echoes is how many bytes go there and back before a file.
const echoes = 5

// A receiver is a TCP service: it sends the first bytes back, stores what comes then, and
// confirms it.
type receiver struct {
	net.Listener
	path string

	received atomic.Int64 // bytes of the file
	gap      time.Duration
}

// open opens the service at a place.
func open(at cluster.Place, dir string) (*receiver, error) {
	ln, err := at.Open("127.0.0.1:0")
	return &receiver{Listener: ln, path: filepath.Join(dir, "received")}, err
}

// receive takes one file, until ctx ends. gap is how long nothing came at the most.
func (r *receiver) receive(ctx context.Context) error {
	conn, err := r.Accept()
	if err != nil {
		return err
	}
	defer conn.Close() // the confirmation is the end
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	b := make([]byte, 1)
	for range echoes {
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	f, err := os.Create(r.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.MultiWriter(f, &progress{r: r}), conn)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}

// progress notes when something arrives.
type progress struct {
	r    *receiver
	last time.Time
}

// Write implements io.Writer.
func (p *progress) Write(b []byte) (int, error) {
	now := time.Now()
	if !p.last.IsZero() {
		p.r.gap = max(p.r.gap, now.Sub(p.last))
	}
	p.last = now
	p.r.received.Add(int64(len(b)))
	return len(b), nil
}

// A result is how a file went.
type result struct {
	took time.Duration // until the receiver had it all
	rtt  time.Duration // of the best of the echoes, on the same connection
	gap  time.Duration // how long nothing arrived at the most
}

// sendTimeout is how long a file may take besides a second for each MiB, which is slow.
const sendTimeout = time.Minute

// send moves the file from a place to the receiver behind addr there.
func (f *file) send(ctx context.Context, from cluster.Place, addr string, to *receiver) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout+time.Duration(f.size>>20)*time.Second)
	defer cancel()
	received := make(chan error, 1)
	go func() { received <- to.receive(ctx) }()
	res, err := f.write(ctx, from, addr)
	if err != nil {
		err = errors.Join(ctx.Err(), err)
		cancel()
		to.Close() // whatever it waits for
		return res, errors.Join(fmt.Errorf("send: %w", err), ignoreClosed(<-received))
	}
	err = <-received
	res.gap = to.gap
	return res, err
}

// ignoreClosed is nil where a listener was closed by us.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// write is the sender's part.
func (f *file) write(ctx context.Context, from cluster.Place, addr string) (res result, err error) {
	in, err := os.Open(f.path)
	if err != nil {
		return res, err
	}
	defer in.Close() // only read
	conn, err := from.Dial(addr)
	if err != nil {
		return res, err
	}
	defer conn.Close() // all is confirmed by then
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	b := make([]byte, 1)
	for range echoes {
		start := time.Now()
		if _, err := conn.Write(b); err != nil {
			return res, err
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return res, err
		}
		if took := time.Since(start); res.rtt == 0 || took < res.rtt {
			res.rtt = took
		}
	}
	start := time.Now()
	if _, err = io.Copy(conn, in); err == nil {
		err = conn.(*net.TCPConn).CloseWrite()
	}
	if err == nil {
		_, err = io.ReadFull(conn, b)
	}
	res.took = time.Since(start)
	return res, err
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
