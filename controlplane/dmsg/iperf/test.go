package iperf

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Run measures over conn, a fresh stream to a server, and returns what the receiving
// end counted. count grows meanwhile. conn is to be closed by the caller, whatever
// comes of it.
//
// Errors: ErrProtocol, ErrVersion, ErrBusy, ErrTooLong, ctx's cause, or what conn says.
func Run(ctx context.Context, conn net.Conn, dir Direction, dur time.Duration, count *atomic.Uint64) (Report, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	report, err := run(ctx, conn, hello{dir, dur}, count)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("iperf: %w", context.Cause(ctx))
	}
	return report, err
}

func run(ctx context.Context, conn net.Conn, h hello, count *atomic.Uint64) (Report, error) {
	limit(ctx, conn, handshakeTimeout)
	if err := shake(conn, h); err != nil {
		return Report{}, err
	}
	limit(ctx, conn, h.dur+grace)
	if h.dir == Down {
		return receive(conn, count) // the server's report says no more than that
	}
	if r, err := send(conn, h.dur, count); err != nil {
		return r, err
	}
	return readReport(conn)
}

// shake says hello and hears what the server makes of it.
func shake(conn net.Conn, h hello) error {
	if _, err := conn.Write(h.append(nil)); err != nil {
		return fmt.Errorf("iperf: %w", err)
	}
	var answer [answerLen]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("%w: its answer: %w", ErrProtocol, unexpected(err))
	}
	most := time.Duration(binary.BigEndian.Uint32(answer[1:])) * time.Millisecond
	switch answer[0] {
	case statusOK:
		return nil
	case statusVersion:
		return ErrVersion
	case statusBusy:
		return ErrBusy
	case statusLong:
		return fmt.Errorf("%w: %v, where it allows %v", ErrTooLong, h.dur, most)
	default:
		return fmt.Errorf("%w: its answer begins with %d", ErrProtocol, answer[0])
	}
}

// A Server is the other end of Run. Its fields are not changed once it is in use;
// Handle may be called concurrently.
type Server struct {
	// MaxDuration is the longest test, MaxTests how many may run at once.
	MaxDuration time.Duration
	MaxTests    int

	running atomic.Int64
}

// Handle serves one stream, without closing it, and returns what went over it. ctx
// ends it.
func (s *Server) Handle(ctx context.Context, conn net.Conn) (Direction, Report, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	h, err := s.greet(conn)
	if err != nil {
		return h.dir, Report{}, err
	}
	defer s.running.Add(-1)
	limit(ctx, conn, h.dur+grace)
	var count atomic.Uint64
	var r Report
	if h.dir == Up {
		r, err = receive(conn, &count)
	} else {
		r, err = send(conn, h.dur, &count)
	}
	if err == nil {
		_, err = conn.Write(r.append(nil))
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("iperf: %w", context.Cause(ctx))
	}
	return h.dir, r, err
}

// limit gives conn some time, unless ctx has ended it.
func limit(ctx context.Context, conn net.Conn, d time.Duration) {
	_ = conn.SetDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		_ = conn.SetDeadline(time.Unix(1, 0))
	}
}

// greet reads the hello and answers it. Without an error, the test is one of those
// that run.
func (s *Server) greet(conn net.Conn) (h hello, err error) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	var b [helloLen]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return h, fmt.Errorf("iperf: the client's hello: %w", unexpected(err))
	}
	status := byte(statusOK)
	switch h, err = parseHello(b[:]); {
	case err != nil:
		status = statusVersion
	case h.dur > s.MaxDuration:
		status, err = statusLong, ErrTooLong
	case s.running.Add(1) > int64(s.MaxTests):
		s.running.Add(-1)
		status, err = statusBusy, ErrBusy
	}
	answer := binary.BigEndian.AppendUint32([]byte{status}, uint32(s.MaxDuration.Milliseconds()))
	if _, werr := conn.Write(answer); err == nil && werr != nil {
		s.running.Add(-1)
		err = fmt.Errorf("iperf: %w", werr)
	}
	return h, err
}
