package relay

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// A rig is a relay on loopback.
type rig struct {
	*Server
	addr string
	stop func() // ends Serve and waits for it
}

func newRig(t testing.TB, edit func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Identity = identity(t)
	cfg.DrainTimeout = 0
	cfg.MaxPerAddress = 0
	if edit != nil {
		edit(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	r := &rig{Server: srv, addr: ln.Addr().String()}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience + cfg.DrainTimeout):
			buf := make([]byte, 1<<20)
			t.Errorf("Serve does not return:\n%s", buf[:runtime.Stack(buf, true)])
		}
	}
	t.Cleanup(r.stop)
	return r
}

func identity(t testing.TB) *proto.Identity {
	t.Helper()
	_, sk := cipher.GenerateKeyPair()
	id, err := proto.NewIdentity(sk)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// count waits until the relay has counted n times for that reason.
func (r *rig) count(t testing.TB, why Reason, n uint64) {
	t.Helper()
	r.until(t, func() bool { return r.stats.reasons[why].Load() >= n }, "reason "+why.String())
	if got := r.stats.reasons[why].Load(); got != n {
		t.Errorf("%d times %v, want %d", got, why, n)
	}
}

// until waits for a condition that no event announces.
func (r *rig) until(t testing.TB, ok func() bool, what string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A peer is a client that sends and sees bare yamux frames.
type peer struct {
	t    testing.TB
	id   *proto.Identity
	conn net.Conn
	hop  *proto.Session
	r    *bufio.Reader
	next uint32 // id of the next stream it opens
}

func (r *rig) connect(t testing.TB, id *proto.Identity) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	before := r.stats.admits.Load()
	hop, err := id.DialSession(context.Background(), conn, r.PubKey())
	if err != nil {
		t.Fatal(err)
	}
	r.until(t, func() bool { return r.stats.admits.Load() > before }, "admission")
	return &peer{t: t, id: id, conn: conn, hop: hop, r: bufio.NewReader(conn), next: 1}
}

// send writes a frame, or several.
func (p *peer) send(h yamux.Header, body []byte) {
	p.t.Helper()
	if h.Type == yamux.TypeData {
		h.Length = uint32(len(body))
	}
	p.write(append(frameBytes(h), body...))
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func frameBytes(h yamux.Header) []byte {
	var b [yamux.HeaderLen]byte
	h.Put(b[:])
	return b[:]
}

// recv returns the next frame.
func (p *peer) recv() (yamux.Header, []byte) {
	p.t.Helper()
	h, body, err := p.tryRecv()
	if err != nil {
		p.t.Fatalf("no frame: %v", err)
	}
	return h, body
}

func (p *peer) tryRecv() (yamux.Header, []byte, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	var head [yamux.HeaderLen]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return yamux.Header{}, nil, err
	}
	h, err := yamux.ParseHeader(head[:])
	if err != nil {
		return h, nil, err
	}
	body := make([]byte, h.BodyLen())
	_, err = io.ReadFull(p.r, body)
	return h, body, err
}

// want receives a frame and compares its header.
func (p *peer) want(h yamux.Header) []byte {
	p.t.Helper()
	got, body := p.recv()
	if got != h {
		p.t.Fatalf("frame %+v, want %+v", got, h)
	}
	return body
}

// data receives n bytes of a stream, in as many frames as they come.
func (p *peer) data(id uint32, n int) []byte {
	p.t.Helper()
	var out []byte
	for len(out) < n {
		h, body := p.recv()
		if h.Type != yamux.TypeData || h.StreamID != id {
			p.t.Fatalf("frame %+v amid the data of stream %d", h, id)
		}
		out = append(out, body...)
	}
	return out
}

// gone waits for the end of the connection and returns the last frame before it.
func (p *peer) gone() (last yamux.Header) {
	p.t.Helper()
	for {
		h, _, err := p.tryRecv()
		var timeout net.Error
		switch {
		case err == nil:
			last = h
		case errors.As(err, &timeout) && timeout.Timeout():
			p.t.Fatal("the connection stays")
		default:
			return last
		}
	}
}

// object receives a sealed object on a stream and opens it.
func (p *peer) object(id uint32) []byte {
	p.t.Helper()
	head := p.data(id, 2)
	n := 2 + int(binary.BigEndian.Uint16(head))
	if len(head) < n {
		head = append(head, p.data(id, n-len(head))...)
	}
	plain, err := p.hop.Open(head[2:n])
	if err != nil {
		p.t.Fatal(err)
	}
	return plain
}

// open opens a stream with a request to dst and returns its id and hash.
func (p *peer) open(dst cipher.PubKey) (uint32, [32]byte) {
	p.t.Helper()
	id := p.next
	p.next += 2
	signed := p.request(dst)
	p.send(yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagSYN, StreamID: id}, nil)
	p.send(yamux.Header{Type: yamux.TypeData, StreamID: id}, p.seal(signed))
	return id, signed.Hash()
}

func (p *peer) request(dst cipher.PubKey) proto.Signed {
	p.t.Helper()
	signed, err := p.id.SignRequest(&proto.Request{
		Timestamp: time.Now().UnixNano(),
		Src:       proto.Addr{PK: p.id.PubKey(), Port: 49153},
		Dst:       proto.Addr{PK: dst, Port: 80},
		NoiseMsg:  make([]byte, 49),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return signed
}

func (p *peer) seal(plain []byte) []byte {
	p.t.Helper()
	object, err := p.hop.Seal(nil, plain)
	if err != nil {
		p.t.Fatal(err)
	}
	return object
}

// accept receives a request and returns the stream's id and the request's hash.
func (p *peer) accept() (uint32, [32]byte) {
	p.t.Helper()
	h, _ := p.recv()
	if h.Type != yamux.TypeWindowUpdate || h.Flags != yamux.FlagSYN || h.StreamID%2 != 0 {
		p.t.Fatalf("frame %+v, want a SYN", h)
	}
	return h.StreamID, proto.Signed(p.object(h.StreamID)).Hash()
}

func (p *peer) response(hash [32]byte, accepted bool) []byte {
	p.t.Helper()
	signed, err := p.id.SignResponse(&proto.Response{ReqHash: hash, Accepted: accepted, ErrCode: proto.ErrNoListener, NoiseMsg: make([]byte, 49)})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.seal(signed)
}

// dial sets a stream up from d to l and returns its ids at both.
func dial(d, l *peer) (at, there uint32) {
	d.t.Helper()
	at, hash := d.open(l.id.PubKey())
	there, got := l.accept()
	if got != hash {
		d.t.Fatal("the listener got another request")
	}
	l.send(yamux.Header{Type: yamux.TypeData, Flags: yamux.FlagACK, StreamID: there}, l.response(hash, true))
	d.want(yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagACK, StreamID: at})
	response, err := proto.Signed(d.object(at)).Response(hash, l.id.PubKey())
	if err != nil || !response.Accepted {
		d.t.Fatalf("response %+v, %v", response, err)
	}
	return at, there
}

// closed waits for the other side to close conn without another byte.
func closed(t testing.TB, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the connection stays open: %d bytes, %v", n, err)
	}
}
