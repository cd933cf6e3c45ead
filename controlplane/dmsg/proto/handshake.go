package proto

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
)

const (
	// minHandshakeMsg and maxHandshakeMsg bound a message of the XK handshake. Ours
	// are as short as they can be; newer foreign software adds payloads.
	minHandshakeMsg = noise.DHLen + noise.TagLen
	maxHandshakeMsg = MaxFrameBody

	// gapMargin is how much longer than a round trip the gap behind the handshake
	// is: time for a busy relay to read message 3 before more arrives.
	gapMargin = 10 * time.Millisecond
	maxGap    = time.Second
)

// dialSession is DialSession with a source for the ephemeral key, nil for the
// system's.
func (id *Identity) dialSession(ctx context.Context, conn net.Conn, server cipher.PubKey, random io.Reader) (*Session, error) {
	s := &Session{remote: server}
	err := bounded(ctx, conn, func() error {
		h, err := noise.NewHandshake(noise.Config{
			Pattern: noise.XK, Initiator: true, Static: id.static, Peer: server, Rand: random,
		})
		if err != nil {
			return err
		}
		if err := writeMessage(conn, h); err != nil {
			return err
		}
		sent := time.Now()
		if err := readMessage(conn, h); err != nil {
			return err
		}
		s.rtt = time.Since(sent)
		if err := writeMessage(conn, h); err != nil {
			return err
		}
		return s.setKeys(h)
	})
	if err != nil {
		return nil, fmt.Errorf("dmsg: session handshake with server %s: %w", server, err)
	}
	gap := time.NewTimer(min(s.rtt, maxGap) + gapMargin)
	defer gap.Stop()
	select {
	case <-gap.C:
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("dmsg: session handshake with server %s: %w", server, context.Cause(ctx))
	}
}

// acceptSession is AcceptSession with a source for the ephemeral key.
func (id *Identity) acceptSession(ctx context.Context, conn net.Conn, random io.Reader) (*Session, error) {
	s := &Session{}
	err := bounded(ctx, conn, func() error {
		h, err := noise.NewHandshake(noise.Config{Pattern: noise.XK, Static: id.static, Rand: random})
		if err != nil {
			return err
		}
		if err := readMessage(conn, h); err != nil {
			return err
		}
		if err := writeMessage(conn, h); err != nil {
			return err
		}
		if err := readMessage(conn, h); err != nil {
			return err
		}
		s.remote = h.PeerStatic()
		return s.setKeys(h)
	})
	if err != nil {
		return nil, fmt.Errorf("dmsg: session handshake: %w", err)
	}
	return s, nil
}

// setKeys takes over the keys of a finished handshake. dmsg exchanges them after
// XK (see noise.Keys.Swapped) and counts objects from 1.
func (s *Session) setKeys(h *noise.Handshake) error {
	keys, err := h.Keys()
	if err != nil {
		return err
	}
	keys = keys.Swapped()
	s.send, s.recv = noise.NewSendKey(keys.Send), noise.NewRecvKey(keys.Recv)
	_, err = s.send.Reserve(1)
	return err
}

// bounded runs f, which uses conn, for at most HandshakeTimeout and as long as ctx
// lasts. Afterwards conn has no deadline, or f has failed.
func bounded(ctx context.Context, conn net.Conn, f func() error) error {
	deadline := time.Now().Add(HandshakeTimeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // what fails here, f's next call reports
	})
	err := f()
	if !stop() { // the deadline is past, or about to be
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

func writeMessage(w io.Writer, h *noise.Handshake) error {
	msg, err := h.WriteMessage(make([]byte, lengthLen, lengthLen+minHandshakeMsg+noise.TagLen), nil)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-lengthLen))
	_, err = w.Write(msg)
	return err
}

// readMessage reads one message and nothing behind it. Payloads are ignored.
func readMessage(r io.Reader, h *noise.Handshake) error {
	msg, err := readFramed(r, make([]byte, 0, 128), minHandshakeMsg, maxHandshakeMsg)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the peer closed the connection: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	_, err = h.ReadMessage(nil, msg)
	return err
}

// newKK starts a stream handshake.
func (id *Identity) newKK(initiator bool, remote cipher.PubKey, random io.Reader) (*noise.Handshake, error) {
	shared, err := id.sharedWith(remote)
	if err != nil {
		return nil, err
	}
	return noise.NewHandshake(noise.Config{
		Pattern: noise.KK, Initiator: initiator, Static: id.static, Peer: remote, Shared: shared, Rand: random,
	})
}

// initiate is Initiate with a source for the ephemeral key.
func (id *Identity) initiate(remote cipher.PubKey, random io.Reader) (*Initiator, []byte, error) {
	h, err := id.newKK(true, remote, random)
	if err != nil {
		return nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	msg1, err := h.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	return &Initiator{h}, msg1, nil
}

// respond is Respond with a source for the ephemeral key.
func (id *Identity) respond(remote cipher.PubKey, msg1 []byte, random io.Reader) ([]byte, *SendStream, *RecvStream, error) {
	h, err := id.newKK(false, remote, random)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	if _, err := h.ReadMessage(nil, msg1); err != nil {
		return nil, nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	msg2, err := h.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	send, recv, err := streams(h)
	if err != nil {
		return nil, nil, nil, err
	}
	return msg2, send, recv, nil
}

// streams takes over the keys of a finished KK handshake, whose directions are the
// standard ones.
func streams(h *noise.Handshake) (*SendStream, *RecvStream, error) {
	keys, err := h.Keys()
	if err != nil {
		return nil, nil, fmt.Errorf("dmsg: stream handshake: %w", err)
	}
	return &SendStream{key: noise.NewSendKey(keys.Send)}, &RecvStream{key: noise.NewRecvKey(keys.Recv)}, nil
}
