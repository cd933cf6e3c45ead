package foreign

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Relay is the deployed relay server.
type Relay struct {
	SK cipher.SecKey
	PK cipher.PubKey

	lis      net.Listener
	mu       sync.Mutex
	sessions map[cipher.PubKey]*served
	conns    map[net.Conn]struct{}
	group    sync.WaitGroup
}

type served struct {
	pk         cipher.PubKey
	mux        *yamux.Session
	send, recv *half
}

// NewRelay listens on a free port of the loopback interface.
func NewRelay() (*Relay, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	pk, sk := cipher.GenerateKeyPair()
	r := &Relay{SK: sk, PK: pk, lis: lis, sessions: map[cipher.PubKey]*served{}, conns: map[net.Conn]struct{}{}}
	r.group.Go(r.serve)
	return r, nil
}

// Addr returns where the relay listens.
func (r *Relay) Addr() string { return r.lis.Addr().String() }

// Close ends it and everything in it.
func (r *Relay) Close() {
	_ = r.lis.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.group.Wait()
}

func (r *Relay) serve() {
	for {
		conn, err := r.lis.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[conn] = struct{}{}
		r.mu.Unlock()
		r.group.Go(func() {
			r.session(conn)
			_ = conn.Close()
			r.mu.Lock()
			delete(r.conns, conn)
			r.mu.Unlock()
		})
	}
}

func (r *Relay) session(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(5*time.Second)) != nil {
		return
	}
	pk, send, recv, err := acceptXK(conn, r.SK)
	if err != nil || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	mux, err := yamux.Server(conn, muxConfig())
	if err != nil {
		return
	}
	defer func() { _ = mux.Close() }()
	s := &served{pk: pk, mux: mux, send: send, recv: recv}
	r.mu.Lock()
	_, taken := r.sessions[pk]
	if !taken {
		r.sessions[pk] = s
	}
	r.mu.Unlock()
	// The tear-down of a refused second session takes the first one's entry along.
	defer func() {
		r.mu.Lock()
		delete(r.sessions, pk)
		r.mu.Unlock()
	}()
	if taken {
		return
	}
	for {
		ys, err := mux.AcceptStream()
		if err != nil {
			return
		}
		r.group.Go(func() { r.stream(s, ys) })
	}
}

// stream relays one stream. When something fails on the way it returns and leaves
// the dialler's stream as it is.
func (r *Relay) stream(from *served, ys *yamux.Stream) {
	body, err := readPrefixed(ys)
	if err != nil {
		return
	}
	obj, err := from.recv.open(body, false)
	if err != nil {
		return
	}
	req, err := checkRequest(obj)
	if err != nil || req.SrcAddr.PK != Key(from.pk) {
		return
	}
	r.mu.Lock()
	to := r.sessions[cipher.PubKey(req.DstAddr.PK)]
	r.mu.Unlock()
	if to == nil {
		return
	}
	out, err := to.mux.OpenStream()
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	if _, err := out.Write(to.send.seal(obj)); err != nil {
		return
	}
	if body, err = readPrefixed(out); err != nil {
		return
	}
	resp, err := to.recv.open(body, false)
	if err != nil {
		return
	}
	if _, err := checkResponse(resp, obj, req.DstAddr.PK); err != nil {
		return
	}
	if _, err := ys.Write(from.send.seal(resp)); err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	for _, way := range [][2]*yamux.Stream{{out, ys}, {ys, out}} {
		go func() {
			// However it ends, the other direction ends with it.
			_, _ = io.Copy(struct{ io.Writer }{way[0]}, struct{ io.Reader }{way[1]})
			ended <- struct{}{}
		}()
	}
	<-ended
	_ = ys.Close()
	_ = out.Close()
	<-ended
}
