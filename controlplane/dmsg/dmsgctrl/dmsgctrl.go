// Package dmsgctrl is the control protocol of a key, on dmsg port 7: is anybody
// there? One byte asks, one byte answers, as often as the stream lives; any other
// byte ends it. The deployed software speaks it too.
package dmsgctrl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Port is where keys answer.
const Port = 7

const (
	ping = 0x09
	pong = 0x0A

	// maxStreams bounds what Serve answers at once, and idleTimeout how long a stream
	// keeps its place without a question.
	maxStreams  = 256
	idleTimeout = 5 * time.Minute
	// answerTimeout is how long a peer has to take its answers.
	answerTimeout = 10 * time.Second
)

// ErrProtocol says that the peer answered with something else than it should.
var ErrProtocol = errors.New("dmsgctrl: not the answer to a ping")

// Ping asks once over conn and returns how long the answer took. conn is good for one
// Ping after the other; after an error it is not, for a late answer would pass for the
// next one.
//
// Errors: ErrProtocol, ctx's cause, or what conn says.
func Ping(ctx context.Context, conn net.Conn) (time.Duration, error) {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return 0, fmt.Errorf("dmsgctrl: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	begin := time.Now()
	buf := [1]byte{ping}
	_, err := conn.Write(buf[:])
	if err == nil {
		_, err = conn.Read(buf[:])
	}
	rtt := time.Since(begin)
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
		return 0, fmt.Errorf("dmsgctrl: no answer: %w", context.Cause(ctx))
	case err != nil:
		return 0, fmt.Errorf("dmsgctrl: %w", err)
	case buf[0] != pong:
		return 0, fmt.Errorf("%w: byte %#02x", ErrProtocol, buf[0])
	}
	return rtt, nil
}

// Serve answers on lis, a listener on Port, until ctx ends or lis fails. It closes
// lis and returns when nothing of it runs any more; the end of ctx, or of lis by its
// Close, is no error.
func Serve(ctx context.Context, lis net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = lis.Close() })
	defer stop()
	places := make(chan struct{}, maxStreams)
	for {
		conn, err := lis.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case err != nil:
			_ = lis.Close()
			return fmt.Errorf("dmsgctrl: %w", err)
		}
		select {
		case places <- struct{}{}:
			wg.Go(func() {
				answer(ctx, conn)
				<-places
			})
		default:
			_ = conn.Close()
		}
	}
}

// answer serves one stream and closes it.
func answer(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	var buf [64]byte
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleTimeout))
		n, err := conn.Read(buf[:])
		questions := buf[:n]
		other := bytes.IndexFunc(questions, func(r rune) bool { return r != ping })
		if other >= 0 {
			questions = questions[:other]
		}
		if len(questions) > 0 {
			_ = conn.SetWriteDeadline(time.Now().Add(answerTimeout))
			if _, werr := conn.Write(bytes.Repeat([]byte{pong}, len(questions))); werr != nil {
				return
			}
		}
		if err != nil || other >= 0 {
			return
		}
	}
}
