package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

const (
	// streamPatience is how long a connection may take until its first record.
	streamPatience = 5 * time.Second

	// notSentLowat is how much the kernel takes beyond what the peer's window
	// allows: the queue is to stand in ours, where flows are fair.
	notSentLowat = 128 << 10

	acceptPause = 100 * time.Millisecond // after an error such as too many open files
)

// listenTCP opens the socket for inbound STCPR links. [::] takes IPv4 too, 0.0.0.0
// takes IPv4 only.
func listenTCP(addr netip.AddrPort) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1} // links have probes of their own
	return lc.Listen(context.Background(), tcpNetwork(addr), addr.String())
}

func tcpNetwork(addr netip.AddrPort) string {
	if addr.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// acceptLoop takes inbound connections until the listener is closed.
func (e *Engine) acceptLoop(ctx context.Context) error {
	g := newAcceptGate()
	for {
		conn, err := e.tcp.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			e.log.Warn().Err(err).Msg("accept stcpr connection")
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(acceptPause):
			}
			continue
		}
		from := remoteAddr(conn)
		unproved, giveWay := context.WithCancel(ctx)
		leave, crowded := g.enter(from.Addr(), giveWay)
		if crowded {
			e.count(DropCrowded)
		}
		tuneTCP(conn)
		stop := context.AfterFunc(unproved, func() { _ = conn.Close() })
		done := func() { stop(); giveWay(); leave() }
		e.streams.Go(func() {
			a := arrival{conn: conn, typ: STCPR, addr: from, at: place(from.Addr())}
			if err := e.acceptStream(unproved, a, g.curves, done); err != nil {
				e.countError(err)
				_ = conn.Close()
				done()
			}
		})
	}
}

// remoteAddr returns the other end of a TCP connection, IPv4 unmapped; of anything
// else an address that is not valid.
func remoteAddr(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// connectStreamDue begins an attempt to connect if it is time for one.
func (l *Link) connectStreamDue(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.outbound.Load() || l.Up() || now < l.state.next || l.typ == STCPR && !l.state.target.IsValid() || !l.keys.Begin(time.Duration(now)) {
		return
	}
	l.backOff(now)
	target := l.state.target
	l.e.streams.Go(func() {
		if err := l.dial(target, now); err != nil {
			l.failed(err, now)
		}
	})
}

// dial is one attempt, which keys.Begin knows by its time: if it has been aborted
// meanwhile, because the peer's own attempt goes on, the connection is dropped.
func (l *Link) dial(target netip.AddrPort, began int64) error {
	ctx, cancel := context.WithTimeout(l.e.ctx, streamPatience)
	defer cancel()
	conn, err := l.open(ctx, target)
	if err != nil {
		return &openError{fmt.Errorf("link: connect to %s: %w", l.peer, err)}
	}
	if err := l.connectOver(ctx, conn, began); err != nil {
		_ = conn.Close()
		return err
	}
	return nil
}

// open opens what the link is to run over.
func (l *Link) open(ctx context.Context, target netip.AddrPort) (net.Conn, error) {
	if l.typ == DMSG {
		return l.e.cfg.Streams(ctx, l.peer)
	}
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.DialContext(ctx, tcpNetwork(target), target.String())
	if err != nil {
		return nil, err
	}
	tuneTCP(conn)
	return conn, nil
}

// An openError says that there is no connection to shake hands on, which no patience
// will change.
type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

// failed ends the attempt that began then. That nobody answered is said only after
// some patience, by despair if no attempt ends just then: both ends may have called at
// once.
func (l *Link) failed(err error, began int64) {
	now := l.e.tick()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.attempting(began) {
		return
	}
	l.keys.Abort()
	var open *openError
	switch {
	case l.e.ctx.Err() != nil:
	case errors.As(err, &open):
		l.state.despaired = true
		l.outcome(err)
	case now-l.state.began > patience:
		l.state.despaired = true
		l.outcome(l.noAnswer())
	default:
		l.state.silent = true
	}
}

// attempting reports whether the attempt that began then is still the present one.
func (l *Link) attempting(began int64) bool {
	at, busy := l.keys.Attempt()
	return busy && int64(at) == began
}

// readBody reads a handshake message of a stream: u32 length ‖ body, which the
// caller owns.
func readBody(r io.Reader) ([]byte, error) {
	var head [recordHeaderLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("link: read handshake: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > packet.MaxHandshakeFrame {
		return nil, fmt.Errorf("%w: %d bytes", errMessage, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("link: read handshake: %w", err)
	}
	return body, nil
}

// writeBody writes one in a single call.
func writeBody(w io.Writer, body []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, recordHeaderLen+len(body)), uint32(len(body)))
	if _, err := w.Write(append(b, body...)); err != nil {
		return fmt.Errorf("link: write handshake: %w", err)
	}
	return nil
}
