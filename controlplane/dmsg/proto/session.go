package proto

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
)

// HandshakeTimeout bounds a session handshake on either side.
const HandshakeTimeout = 5 * time.Second

// A Session is the secured hop between a client and a relay. It seals the objects
// that set streams up, hop by hop; yamux and the streams' data run beside it on the
// same connection, which it does not hold. Safe for concurrent use.
type Session struct {
	remote cipher.PubKey
	rtt    time.Duration

	sendMu    sync.Mutex // held for one sealing, below a microsecond
	send      *noise.SendKey
	sendNonce noise.Nonce

	recvMu    sync.Mutex // held for one opening
	recv      *noise.RecvKey
	recvNonce noise.Nonce
	window    noise.Window
}

// DialSession makes conn a session with the relay that has the key server: the
// client's side of the XK handshake. It takes at most [HandshakeTimeout] or as long
// as ctx lasts, and returns once it is safe to send the first yamux byte: deployed
// relays close the connection if that reaches them together with the handshake's
// last message, and nothing tells the client when they have read it, so it waits a
// round trip and a margin.
//
// conn's deadlines are used and cleared. On error conn is in no usable state and
// the caller closes it.
func (id *Identity) DialSession(ctx context.Context, conn net.Conn, server cipher.PubKey) (*Session, error) {
	return id.dialSession(ctx, conn, server, nil)
}

// AcceptSession is the relay's side of [Identity.DialSession]; [Session.Remote] is
// then the client's key, proven. It reads exactly the bytes of the handshake, so
// that yamux finds everything behind them in conn.
func (id *Identity) AcceptSession(ctx context.Context, conn net.Conn) (*Session, error) {
	return id.acceptSession(ctx, conn, nil)
}

// Remote returns the other side's key.
func (s *Session) Remote() cipher.PubKey { return s.remote }

// RTT returns how long the peer took to answer the first handshake message: a
// round trip and its work of about half a millisecond. 0 on the relay's side.
func (s *Session) RTT() time.Duration { return s.rtt }
