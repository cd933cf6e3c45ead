package netstack

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

const spliceSupported = true

// maxLocked is how much spliceTo writes to the kernel at a time: the endpoint is
// locked meanwhile, and acknowledgements wait.
const maxLocked = 256 << 10

// errStop ends a Write into an fdWriter before everything is written.
var errStop = errors.New("skynet: stop")

// An fdWriter gives what gVisor holds to a non-blocking socket.
type fdWriter struct {
	fd    int
	left  int   // how much it takes before it stops
	block bool  // the socket takes no more for now
	err   error // why it never will
}

// Write implements io.Writer for tcpip.Endpoint.Read: errStop after n bytes leaves
// the rest where it is.
func (w *fdWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) && w.left > 0 {
		n, err := unix.Write(w.fd, b[done:])
		switch {
		case err == nil:
			done += n
			w.left -= n
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			w.block = true
			return done, errStop
		default:
			w.err = err
			return done, errStop
		}
	}
	if done < len(b) {
		return done, errStop
	}
	return done, nil
}

// spliceTo moves what arrives to a socket until the stream ends. It waits in two
// places, never with the endpoint locked: for data on rd.wake, for the socket in
// the runtime's poller.
func (c *Conn) spliceTo(raw syscall.RawConn) (total int64, err error) {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	var (
		w    = new(fdWriter)
		terr tcpip.Error
	)
	for {
		if err := c.over(&c.rd.side); err != nil {
			return total, c.opError("read", err)
		}
		cerr := raw.Write(func(fd uintptr) bool {
			*w = fdWriter{fd: int(fd), left: maxLocked}
			var res tcpip.ReadResult
			res, terr = c.ep.Read(w, tcpip.ReadOptions{})
			total += int64(res.Count)
			c.rd.copied += res.Count
			return !w.block
		})
		if cerr == nil {
			cerr = w.err
		}
		if cerr != nil {
			return total, c.opError("write", cerr)
		}
		switch terr.(type) {
		case nil:
			if c.rd.copied >= moderateEvery {
				c.moderate()
			}
		case *tcpip.ErrWouldBlock:
			c.moderate()
			<-c.rd.wake
		default:
			if err := c.readError(terr); err != io.EOF {
				return total, c.opError("read", err)
			}
			return total, nil
		}
	}
}

// An fdPayload is what is ready in a socket: reading it never blocks. gVisor reads
// it into its chunks without holding a lock.
type fdPayload struct {
	fd    int
	ready int
}

// Len implements tcpip.Payloader.
func (p *fdPayload) Len() int { return p.ready }

// Read implements io.Reader. gVisor depends on getting all of Len.
func (p *fdPayload) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(p.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			p.ready -= n
			return n, nil
		}
	}
}

// spliceFrom moves what a socket delivers into the stream until io.EOF. It waits
// in two places: for the socket in the runtime's poller, for space on wr.wake.
func (c *Conn) spliceFrom(raw syscall.RawConn) (total int64, err error) {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	var (
		p    = new(fdPayload)
		terr tcpip.Error
		eof  bool
	)
	for {
		if err := c.over(&c.wr.side); err != nil {
			return total, c.opError("write", err)
		}
		terr = nil
		cerr := raw.Read(func(fd uintptr) bool {
			var n int
			var ok bool
			if n, ok, err = ready(int(fd)); !ok || err != nil {
				return ok
			}
			if eof = n == 0; eof {
				return true
			}
			*p = fdPayload{fd: int(fd), ready: min(n, maxPiece)}
			var sent int64
			sent, terr = c.ep.Write(p, tcpip.WriteOptions{})
			total += sent
			return true
		})
		if cerr == nil {
			cerr = err
		}
		switch _, full := terr.(*tcpip.ErrWouldBlock); {
		case cerr != nil:
			return total, c.opError("read", cerr)
		case eof:
			return total, nil
		case full:
			<-c.wr.wake
		case terr != nil:
			return total, c.opError("write", c.writeError(terr))
		}
	}
}

// ready returns how many bytes can be read from a stream socket at once, with ok
// false if none have come yet; 0 and ok is the end of the stream.
func ready(fd int) (n int, ok bool, err error) {
	if n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n > 0 {
		return n, true, err
	}
	var b [1]byte
	for {
		n, _, err = unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, false, nil
		default:
			return n, true, err
		}
	}
}
