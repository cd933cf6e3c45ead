package yamux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// A model is a server session told again, slowly and obviously: what it makes of each
// frame of the peer and each call of the application.
type model struct {
	dead    bool
	streams map[uint32]*modelStream // those in the table
	queue   []*modelStream          // not accepted
	peerID  uint32
	nextID  uint32
}

type modelStream struct {
	id                        uint32
	st                        *Stream
	sentFIN, gotFIN, closed   bool
	gone, broken, established bool
	granted                   bool // was sent credit
	credit                    int
	unread                    []byte
}

const (
	modelBacklog = 3
	modelStreams = 6
	modelIDs     = 200 // streams have numbers below
)

// frame is what the session should make of h and its body.
func (m *model) frame(h Header, body []byte) {
	st, own := m.streams[h.StreamID], h.StreamID%2 == 0
	switch {
	case h.Type == TypePing:
		return
	case h.Flags&FlagSYN != 0 && (own || st != nil):
		m.dead = true
		return
	case h.Flags&FlagSYN != 0:
		m.peerID = max(m.peerID, h.StreamID)
		if len(m.queue) == modelBacklog || len(m.streams) == modelStreams {
			return
		}
		st = &modelStream{id: h.StreamID, credit: InitialWindow}
		m.streams[h.StreamID] = st
		m.queue = append(m.queue, st)
	case st == nil:
		m.dead = h.StreamID == 0 || own && h.StreamID >= m.nextID || !own && h.StreamID > m.peerID
		return
	}
	if h.Flags&FlagACK != 0 {
		st.established = true
	}
	if h.Flags&FlagRST != 0 {
		m.breakOff(st)
		return
	}
	if h.Type == TypeData && len(body) > 0 {
		if st.gotFIN || len(body) > st.credit {
			m.breakOff(st)
			return
		}
		st.credit -= len(body)
		if !st.closed {
			st.unread = append(st.unread, body...)
		} else if st.credit == 0 {
			m.breakOff(st)
			return
		}
	}
	if h.Flags&FlagFIN != 0 {
		if st.gotFIN {
			m.breakOff(st)
			return
		}
		st.gotFIN = true
		m.mayLeave(st)
	}
}

func (m *model) breakOff(st *modelStream) {
	st.broken, st.gone, st.unread = true, true, nil
	delete(m.streams, st.id)
}

func (m *model) mayLeave(st *modelStream) {
	if st.gotFIN && st.sentFIN && !st.gone {
		st.gone = true
		delete(m.streams, st.id)
	}
}

// A recorder is a connection that gives nothing to read and keeps what is written.
type recorder struct {
	net.Conn
	mu     sync.Mutex
	wrote  []byte
	closed chan struct{}
	once   sync.Once
}

func (r *recorder) Read([]byte) (int, error) { <-r.closed; return 0, net.ErrClosed }

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrote = append(r.wrote, p...)
	return len(p), nil
}

func (r *recorder) Close() error                     { r.once.Do(func() { close(r.closed) }); return nil }
func (*recorder) SetWriteDeadline(t time.Time) error { return nil }

// A modelRun feeds the same to a session and to the model.
type modelRun struct {
	t    *testing.T
	s    *Session
	conn *recorder
	m    model
	all  []*modelStream // those that the application holds
	sent byte           // changes the contents of bodies
}

func newModelRun(t *testing.T) *modelRun {
	conn := &recorder{closed: make(chan struct{})}
	s, err := New(conn, Config{KeepAlive: -1, AcceptBacklog: modelBacklog, MaxStreams: modelStreams, Budget: NewBudget(1 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	return &modelRun{t: t, s: s, conn: conn, m: model{streams: map[uint32]*modelStream{}, nextID: 2}}
}

// step does what four bytes say: what, to which stream, and how much.
func (r *modelRun) step(op [4]byte) {
	id, n := uint32(op[1]%modelIDs), int(binary.BigEndian.Uint16(op[2:]))
	h := Header{Type: TypeWindowUpdate, StreamID: id}
	switch op[0] % 16 {
	case 0, 1:
		h.Flags = FlagSYN
		r.frame(h, n)
	case 2, 3, 4, 5:
		h.Type, h.Length = TypeData, uint32(n*8)
		if op[0]&0xf0 == 0 {
			h.Flags = FlagFIN
		}
		if op[0]&0xf0 == 0x10 {
			h.Flags = FlagSYN
		}
		r.frame(h, n)
	case 6:
		h.Flags = FlagFIN
		r.frame(h, n)
	case 7:
		h.Flags = FlagRST
		r.frame(h, n)
	case 8:
		h.Flags, h.Length = FlagACK, uint32(n)<<16
		r.frame(h, n)
	case 9:
		r.frame(Header{Type: TypePing, Flags: FlagSYN, Length: uint32(n)}, n)
	case 10:
		r.accept()
	case 11:
		r.open()
	default:
		if len(r.all) > 0 {
			r.call(r.all[int(op[1])%len(r.all)], op[0]%16, n)
		}
	}
	r.compare()
}

// frame feeds one frame, cut in pieces.
func (r *modelRun) frame(h Header, cut int) {
	if r.m.dead {
		return
	}
	r.sent++
	body := pattern(int(h.BodyLen()), r.sent)
	raw := make([]byte, HeaderLen, HeaderLen+len(body))
	h.Put(raw)
	raw = append(raw, body...)
	r.m.frame(h, body)
	var err error
	for piece := cut%1000 + 1; len(raw) > 0 && err == nil; piece += piece / 2 {
		n := min(piece, len(raw))
		err = r.s.feed(raw[:n])
		raw = raw[n:]
	}
	r.s.out.flush()
	if dead := errors.Is(err, ErrProtocol); dead != r.m.dead || !dead && err != nil {
		r.t.Fatalf("%+v: %v, the model says dead: %v", h, err, r.m.dead)
	}
}

func (r *modelRun) accept() {
	// Those that were reset keep their places until somebody accepts.
	first := slices.IndexFunc(r.m.queue, func(st *modelStream) bool { return !st.broken })
	if first < 0 || r.m.dead {
		return
	}
	want := r.m.queue[first]
	r.m.queue = r.m.queue[first+1:]
	st, err := r.s.Accept(r.t.Context())
	if err != nil || st.ID() != want.id {
		r.t.Fatalf("accepted %+v, %v, want stream %d", st, err, want.id)
	}
	want.st, want.established = st, true
	r.all = append(r.all, want)
}

func (r *modelRun) open() {
	waiting := 0
	for _, st := range r.m.streams {
		if st.id%2 == 0 && !st.established {
			waiting++
		}
	}
	if r.m.dead || waiting == modelBacklog || r.m.nextID >= modelIDs {
		return
	}
	st, err := r.s.Open(r.t.Context())
	if full := len(r.m.streams) == modelStreams; full != errors.Is(err, ErrTooMany) || !full && err != nil {
		r.t.Fatalf("Open with %d streams: %v", len(r.m.streams), err)
	}
	if err != nil {
		return
	}
	ms := &modelStream{id: r.m.nextID, st: st, credit: InitialWindow}
	r.m.streams[ms.id] = ms
	r.m.nextID += 2
	r.all = append(r.all, ms)
}

// call uses a stream as an application does, where that does not block.
func (r *modelRun) call(ms *modelStream, what byte, n int) {
	switch what {
	case 12, 13:
		if !ms.closed && len(ms.unread) == 0 && !ms.gotFIN && !ms.broken {
			return
		}
		if what == 12 {
			r.read(ms, n+1)
		} else {
			r.peek(ms, n+1)
		}
	case 14:
		err := ms.st.CloseWrite()
		if ok := !ms.closed && !ms.broken; ok != (err == nil) {
			r.t.Fatalf("stream %d: CloseWrite: %v, the model says ok: %v", ms.id, err, ok)
		} else if ok {
			ms.sentFIN = true
			r.m.mayLeave(ms)
		}
	case 15:
		if n%4 == 0 {
			ms.st.Reset()
			if !ms.gone {
				r.m.breakOff(ms)
			}
			ms.closed, ms.unread = true, nil
			return
		}
		if err := ms.st.Close(); err != nil {
			r.t.Fatal(err)
		}
		if ms.closed {
			return
		}
		ms.closed, ms.unread = true, nil
		if !ms.gone {
			ms.sentFIN = true
			r.m.mayLeave(ms)
			if !ms.gone && ms.credit == 0 {
				r.m.breakOff(ms)
			}
		}
	}
}

func (r *modelRun) read(ms *modelStream, n int) {
	p := make([]byte, n)
	got, err := ms.st.Read(p)
	r.check(ms, "Read", n, p[:got], err)
	ms.unread = ms.unread[got:]
}

func (r *modelRun) peek(ms *modelStream, n int) {
	n = min(n, max(len(ms.unread), 1))
	p, err := ms.st.Peek(n)
	r.check(ms, "Peek", n, p, err)
	ms.st.Discard(len(p))
	ms.unread = ms.unread[len(p):]
}

func (r *modelRun) check(ms *modelStream, call string, n int, got []byte, err error) {
	want := ms.unread[:min(n, len(ms.unread))]
	var wantErr bool
	switch {
	case ms.closed:
		wantErr = errors.Is(err, net.ErrClosed)
	case len(want) > 0:
		wantErr = err == nil
	case ms.broken:
		wantErr = errors.Is(err, ErrReset) || errors.Is(err, ErrProtocol)
	default:
		wantErr = errors.Is(err, io.EOF)
	}
	if !wantErr || !bytes.Equal(got, want) {
		r.t.Fatalf("stream %d: %s(%d) = %d bytes, %v; the model has %d, or others", ms.id, call, n, len(got), err, len(want))
	}
}

// compare takes in the grants that the session has sent and looks whether both
// have come to the same.
func (r *modelRun) compare() {
	r.s.out.linger(10 * time.Second)
	r.conn.mu.Lock()
	wrote := r.conn.wrote
	r.conn.wrote = nil
	r.conn.mu.Unlock()
	for len(wrote) > 0 {
		h, err := ParseHeader(wrote)
		if err != nil {
			r.t.Fatalf("sent %x: %v", wrote, err)
		}
		wrote = wrote[HeaderLen:]
		if st := r.m.streams[h.StreamID]; st != nil && h.Type == TypeWindowUpdate {
			st.credit += int(h.Length)
			st.granted = st.granted || h.Length > 0
		}
	}
	if r.m.dead {
		return
	}
	if got, want := r.s.NumStreams(), len(r.m.streams); got != want {
		r.t.Fatalf("%d streams, the model has %d", got, want)
	}
	for id, ms := range r.m.streams {
		r.s.mu.Lock()
		st := r.s.streams[id]
		r.s.mu.Unlock()
		if st == nil {
			r.t.Fatalf("stream %d is not there", id)
		}
		if st.Buffered() != len(ms.unread) {
			r.t.Fatalf("stream %d: %d bytes unread, the model has %d", id, st.Buffered(), len(ms.unread))
		}
		st.mu.Lock()
		w := st.win
		st.mu.Unlock()
		if int(w.credit) != ms.credit {
			r.t.Fatalf("stream %d: the peer has credit for %d bytes, the model says %d", id, w.credit, ms.credit)
		}
		if sum := w.credit + w.pending + int64(st.Buffered()); !ms.closed && sum != w.size {
			r.t.Fatalf("stream %d: credit %d, pending %d and buffered %d are not the window, %d", id, w.credit, w.pending, st.Buffered(), w.size)
		}
	}
}

func (r *modelRun) close() {
	if err := r.s.Close(); err != nil {
		r.t.Error(err)
	}
}

// TestModel runs long random sequences, in which what ends the session is rare.
func TestModel(t *testing.T) {
	var steps, dead, ends, resets, grants int
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 7))
		r := newModelRun(t)
		for range 400 {
			r.step(likely(rng, r))
			steps++
			if r.m.dead {
				dead++
				break
			}
		}
		for _, ms := range r.all {
			if ms.broken {
				resets++
			} else if ms.gone {
				ends++
			}
			if ms.granted {
				grants++
			}
		}
		r.close()
	}
	t.Logf("%d steps, %d sessions ended, %d streams ended, %d were reset, %d were granted credit", steps, dead, ends, resets, grants)
	if steps < 20_000 || dead < 3 || ends < 100 || resets < 500 || grants < 50 {
		t.Error("too few of something to mean much")
	}
}

// likely returns a step that is likely to be legal.
func likely(rng *rand.Rand, r *modelRun) (op [4]byte) {
	binary.BigEndian.PutUint32(op[:], rng.Uint32())
	if rng.IntN(1000) == 0 {
		return op
	}
	var known []uint32
	for id := range r.m.streams {
		known = append(known, id)
	}
	slices.Sort(known)
	what := op[0] % 16
	switch {
	case what < 2: // a new stream of the peer's, or an old number again
		op[1] = byte(2*rng.IntN(modelIDs/2) + 1)
		if r.m.streams[uint32(op[1])] != nil {
			op[0] = 10
		}
	case what < 10 && len(known) == 0:
		op[0] = 10
	case what < 10:
		op[1] = byte(known[rng.IntN(len(known))])
		if op[0]&0xf0 == 0x10 && what >= 2 && what < 6 {
			op[0] |= 0x20 // no SYN
		}
		if (what == 6 || what == 7) && rng.IntN(3) > 0 {
			op[0] = 2 | 0x80 // data rather than an end
		}
		if credit := r.m.streams[uint32(op[1])].credit; rng.IntN(50) > 0 {
			// Most fit the credit, and some use it up; 8 bytes to the unit.
			binary.BigEndian.PutUint16(op[2:], uint16(rng.IntN(credit/8+1)>>rng.IntN(4)))
		}
	case what > 13 && rng.IntN(4) > 0:
		op[0] = 12 // read rather than end
	}
	return op
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 10, 0, 0, 0, 34, 1, 4, 0, 12, 0, 4, 0})
	f.Add([]byte{18, 1, 0xff, 0xff, 10, 0, 0, 0, 15, 0, 0, 1, 6, 1, 0, 0})
	f.Add([]byte{11, 0, 0, 0, 8, 2, 0, 1, 2, 2, 1, 0, 14, 0, 0, 0})
	f.Fuzz(func(t *testing.T, program []byte) {
		r := newModelRun(t)
		defer r.close()
		for len(program) >= 4 && !r.m.dead {
			r.step([4]byte(program))
			program = program[4:]
		}
	})
}

// FuzzFeed: whatever comes, cut wherever, the session neither panics nor keeps more
// than its streams' windows, and takes the same bytes the same way in one piece.
func FuzzFeed(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x02hi"), uint16(3))
	f.Add([]byte("\x00\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint16(12))
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		outcome := func(piece int) (streams, buffered int, err error) {
			r := newModelRun(t)
			defer r.close()
			for p := raw; len(p) > 0 && err == nil; {
				n := min(piece, len(p))
				err = r.s.feed(p[:n])
				p = p[n:]
			}
			r.s.mu.Lock()
			defer r.s.mu.Unlock()
			for _, st := range r.s.streams {
				buffered += st.Buffered()
			}
			return len(r.s.streams), buffered, err
		}
		n1, b1, err1 := outcome(int(cut) + 1)
		n2, b2, err2 := outcome(len(raw))
		if n1 != n2 || b1 != b2 || (err1 == nil) != (err2 == nil) {
			t.Errorf("in pieces of %d: %d streams, %d bytes, %v; whole: %d, %d, %v", int(cut)+1, n1, b1, err1, n2, b2, err2)
		}
		if n1 > modelStreams || b1 > modelStreams*InitialWindow {
			t.Errorf("%d streams hold %d bytes", n1, b1)
		}
	})
}
