package scenario

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// streamBlock is how much one Write writes, in bytes: a number of 64 bits, from 0
	// up, and pseudo-random bytes that are the same in all blocks.
	streamBlock = 64 << 10
	// maxRTTs bounds what a ping-pong keeps: 16 MiB.
	maxRTTs = 2 << 20
)

// streamConfig goes to both ends.
type streamConfig struct {
	nodeConfig
	Peer    cipher.PubKey // whom the sender dials
	Seconds float64
	Streams int
	Size    int  // of a ping-pong's messages, 0: a transfer
	Verify  bool // look at every byte, not only at the number of every block
	// Cut ends a transfer in time, whatever is still under way or queued, and has the
	// receiver note how far it was when.
	Cut bool
}

// streamTotals is what one end saw.
type streamTotals struct {
	Bytes      int64
	Seconds    float64       // at the receiver from the first byte to the last
	CPUSeconds float64       // meanwhile
	RTTs       []float64     `json:",omitempty"` // µs, in order
	Points     []streamPoint `json:",omitempty"`
}

func streamRoles() []run.Role {
	return []run.Role{run.NewRole(streamTx, streamSend), run.NewRole(streamMid, streamPass), run.NewRole(streamRx, streamReceive)}
}

// streamPass is a middle visor. It returns its CPU time from when its links were up.
func streamPass(ctx context.Context, cfg nodeConfig, ready func()) (cpu float64, err error) {
	n, err := startNode(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := n.settle(ctx); err != nil {
		return 0, err
	}
	begin := cpuSeconds()
	ready()
	<-ctx.Done()
	return cpuSeconds() - begin, nil
}

// streamSend dials all streams, then writes to them, or plays ping-pong.
func streamSend(ctx context.Context, cfg streamConfig, ready func()) (t streamTotals, err error) {
	n, err := startNode(ctx, cfg.nodeConfig)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := n.settle(ctx); err != nil {
		return t, err
	}
	if err := n.settleRoute(ctx, cfg.Peer); err != nil {
		return t, err
	}
	var conns []net.Conn
	for range cfg.Streams {
		c, err := n.Dial(ctx, cfg.Peer, streamPort)
		if err != nil {
			return t, err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	ready()
	start, cpu := time.Now(), cpuSeconds()
	end := start.Add(time.Duration(cfg.Seconds * float64(time.Second)))
	if cfg.Size > 0 {
		t.RTTs, err = ping(conns[0], cfg.Size, end)
		t.Bytes = int64(len(t.RTTs) * cfg.Size)
	} else {
		t.Bytes, err = writeAll(conns, end, cfg.Cut)
	}
	t.Seconds, t.CPUSeconds = time.Since(start).Seconds(), cpuSeconds()-cpu
	return t, err
}

// writeAll is writeUntil for all of conns at once; total is what went to all of them.
func writeAll(conns []net.Conn, end time.Time, cut bool) (total int64, err error) {
	var sum atomic.Int64
	var g errgroup.Group
	for _, c := range conns {
		g.Go(func() error {
			n, err := writeUntil(c, end, cut)
			sum.Add(n)
			return err
		})
	}
	err = g.Wait()
	return sum.Load(), err
}

// writeUntil writes blocks until end, and returns when the other end has read all of
// them and said so by closing; with cut it returns at end.
func writeUntil(c net.Conn, end time.Time, cut bool) (total int64, err error) {
	if cut {
		if err := c.SetWriteDeadline(end); err != nil {
			return 0, err
		}
	}
	block := newBlock()
	for i := uint64(0); time.Now().Before(end); i++ {
		binary.BigEndian.PutUint64(block, i)
		n, err := c.Write(block)
		total += int64(n)
		if cut && errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return total, err
		}
	}
	if cut {
		return total, nil
	}
	return total, finish(c)
}

// finish closes our direction and waits until the other end has closed its own.
func finish(c net.Conn) error {
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("stream: instead of closing the other end: %w", err)
	}
	return nil
}

// ping sends messages of size bytes and waits for each to come back, until end.
func ping(c net.Conn, size int, end time.Time) (rtts []float64, err error) {
	msg, back := make([]byte, size), make([]byte, size)
	for i := uint64(0); len(rtts) < maxRTTs; i++ {
		for at := range msg {
			msg[at] = byte(i >> (at % 8 * 8))
		}
		start := time.Now()
		if start.After(end) && len(rtts) > 0 {
			break
		}
		if _, err := c.Write(msg); err != nil {
			return rtts, err
		}
		if _, err := io.ReadFull(c, back); err != nil {
			return rtts, err
		}
		rtts = append(rtts, float64(time.Since(start).Nanoseconds())/1e3)
		if !bytes.Equal(msg, back) {
			return rtts, fmt.Errorf("stream: message %d came back changed", i)
		}
	}
	return rtts, finish(c)
}

// streamReceive reads all streams to their ends, or sends back what comes.
func streamReceive(ctx context.Context, cfg streamConfig, ready func()) (t streamTotals, err error) {
	n, err := startNode(ctx, cfg.nodeConfig)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	l, err := n.Listen(streamPort)
	if err != nil {
		return t, err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready()

	var m streamMeter
	if cfg.Cut {
		go m.watch(ctx)
	}
	g := acceptAll(l, func(c net.Conn) error {
		if cfg.Size > 0 {
			return m.echo(c, cfg.Size)
		}
		return m.drain(c, cfg.Verify, cfg.Cut)
	})
	// The sender has got all that it waits for: what is open now was cut.
	err = errors.Join(n.Stack.Close(), g.Wait())
	return m.totals(), err
}

// acceptAll has each connection that comes to l read, and closes it then. It returns
// when l is closed, with those that may still be read.
func acceptAll(l net.Listener, read func(net.Conn) error) *errgroup.Group {
	g := new(errgroup.Group)
	for {
		c, err := l.Accept()
		if err != nil {
			return g // closed
		}
		g.Go(func() error {
			defer c.Close()
			return read(c)
		})
	}
}

// newBlock returns what each block holds behind its number.
func newBlock() []byte {
	b := make([]byte, streamBlock)
	r := rand.NewChaCha8([32]byte{'s', 't', 'r', 'e', 'a', 'm'})
	_, _ = r.Read(b) // never fails
	clear(b[:8])
	return b
}

// A checker follows a stream of blocks. Numbers that a Read has cut are only looked
// at with all.
type checker struct {
	block []byte
	all   bool
	at    int64 // bytes seen
}

func (c *checker) next(p []byte) error {
	for len(p) > 0 {
		off := int(c.at % streamBlock)
		n := min(len(p), streamBlock-off)
		binary.BigEndian.PutUint64(c.block, uint64(c.at/streamBlock))
		ok := true
		switch {
		case c.all:
			ok = bytes.Equal(p[:n], c.block[off:off+n])
		case off == 0 && n >= 8:
			ok = bytes.Equal(p[:8], c.block[:8])
		}
		if !ok {
			return fmt.Errorf("stream: what arrived at %d to %d is not what was sent", c.at, c.at+int64(n))
		}
		c.at += int64(n)
		p = p[n:]
	}
	return nil
}
