package dmsg

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A testRelay is the plainest relay that speaks the protocol. It can misbehave as
// deployed ones do.
type testRelay struct {
	pk cipher.PubKey
	id *proto.Identity
	ln net.Listener
	wg sync.WaitGroup

	// silent makes it say nothing about a peer that is not there, as the software of 2024
	// does. dumb makes it take requests and do nothing at all.
	silent, dumb bool

	mu       sync.Mutex
	sessions map[cipher.PubKey]*yamux.Session
	hops     map[*yamux.Session]*proto.Session
	conns    map[net.Conn]bool
	dead     bool
}

func startRelay(t testing.TB, options ...func(*testRelay)) *testRelay {
	t.Helper()
	pk, sk := cipher.GenerateKeyPair()
	return startRelayAs(t, pk, sk, "127.0.0.1:0", options...)
}

func startRelayAs(t testing.TB, pk cipher.PubKey, sk cipher.SecKey, addr string, options ...func(*testRelay)) *testRelay {
	t.Helper()
	id, err := proto.NewIdentity(sk)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &testRelay{
		pk: pk, id: id, ln: ln, sessions: map[cipher.PubKey]*yamux.Session{},
		hops: map[*yamux.Session]*proto.Session{}, conns: map[net.Conn]bool{},
	}
	for _, o := range options {
		o(r)
	}
	r.wg.Go(r.serve)
	t.Cleanup(r.kill)
	return r
}

// entry is what a discovery says about the relay.
func (r *testRelay) entry() *disc.Entry {
	return disc.NewServer(r.pk, r.ln.Addr().String(), 100, time.Now())
}

// kill ends the relay as a crash does.
func (r *testRelay) kill() {
	r.ln.Close()
	r.mu.Lock()
	r.dead = true
	for conn := range r.conns {
		conn.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// goAway asks all clients to move and takes no new ones.
func (r *testRelay) goAway() {
	r.ln.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		s.GoAway()
	}
}

func (r *testRelay) serve() {
	for {
		conn, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		if r.conns[conn] = true; r.dead {
			conn.Close()
		}
		r.mu.Unlock()
		r.wg.Go(func() { r.session(conn) })
	}
}

func (r *testRelay) session(conn net.Conn) {
	defer func() {
		conn.Close()
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
	}()
	hop, err := r.id.AcceptSession(context.Background(), conn)
	if err != nil {
		return
	}
	mux, err := yamux.New(conn, yamux.Config{Budget: yamux.NewBudget(64 << 20)})
	if err != nil {
		return
	}
	defer mux.Close()
	r.mu.Lock()
	r.sessions[hop.Remote()], r.hops[mux] = mux, hop
	r.mu.Unlock()
	var streams sync.WaitGroup
	for {
		in, err := mux.Accept(context.Background())
		if err != nil {
			break
		}
		streams.Go(func() { r.stream(in, hop) })
	}
	r.mu.Lock()
	if r.sessions[hop.Remote()] == mux {
		delete(r.sessions, hop.Remote())
	}
	delete(r.hops, mux)
	r.mu.Unlock()
	streams.Wait()
}

// stream joins a dialer with the listener that it asks for.
func (r *testRelay) stream(in *yamux.Stream, hop *proto.Session) {
	defer in.Reset()
	signed, ok := readSigned(in, hop)
	if !ok {
		return
	}
	if r.dumb {
		io.Copy(io.Discard, in)
		return
	}
	req, err := signed.Request()
	if err != nil || req.Src.PK != hop.Remote() {
		return
	}
	r.mu.Lock()
	dst := r.sessions[req.Dst.PK]
	dstHop := r.hops[dst]
	r.mu.Unlock()
	if dst == nil {
		if r.silent {
			io.Copy(io.Discard, in)
		}
		return
	}
	out, err := dst.Open(context.Background())
	if err != nil {
		return
	}
	defer out.Reset()
	if !writeSigned(out, dstHop, signed) {
		return
	}
	response, ok := readSigned(out, dstHop)
	if !ok || !writeSigned(in, hop, response) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { pipe(in, out) })
	pipe(out, in)
	back.Wait()
	in.Close()
	out.Close()
}

// pipe copies one direction of a stream, its end included.
func pipe(to, from *yamux.Stream) {
	if _, err := io.Copy(to, from); err != nil {
		to.Reset()
		from.Reset()
		return
	}
	to.CloseWrite()
}

func readSigned(s *yamux.Stream, hop *proto.Session) (proto.Signed, bool) {
	body, err := proto.ReadObject(s, nil)
	if err != nil {
		return nil, false
	}
	signed, err := hop.Open(body)
	return signed, err == nil
}

func writeSigned(s *yamux.Stream, hop *proto.Session, signed proto.Signed) bool {
	object, err := hop.Seal(nil, signed)
	if err != nil {
		return false
	}
	_, err = s.Write(object)
	return err == nil
}
