package yamux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// A rawPeer is the other end of a session, frame by frame.
type rawPeer struct {
	t    *testing.T
	conn net.Conn
}

// against makes a server session with a raw peer.
func against(t *testing.T, cfg Config) (*Session, *rawPeer) {
	t.Helper()
	a, b := tcpPair(t)
	t.Cleanup(func() { a.Close() })
	if err := a.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return start(t, b, cfg), &rawPeer{t, a}
}

// send writes a frame.
func (p *rawPeer) send(h Header, body string) {
	p.t.Helper()
	b := make([]byte, HeaderLen, HeaderLen+len(body))
	h.Put(b)
	if _, err := p.conn.Write(append(b, body...)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) syn(id uint32) {
	p.t.Helper()
	p.send(Header{Type: TypeWindowUpdate, Flags: FlagSYN, StreamID: id}, "")
}

func (p *rawPeer) data(id uint32, body string) {
	p.t.Helper()
	p.send(Header{Type: TypeData, StreamID: id, Length: uint32(len(body))}, body)
}

// next reads frames until one is none of those skipped.
func (p *rawPeer) next() (Header, error) {
	var b [HeaderLen]byte
	if _, err := io.ReadFull(p.conn, b[:]); err != nil {
		return Header{}, err
	}
	h, err := ParseHeader(b[:])
	if err == nil {
		_, err = io.CopyN(io.Discard, p.conn, int64(h.BodyLen()))
	}
	return h, err
}

// want reads until the frame h comes.
func (p *rawPeer) want(h Header) {
	p.t.Helper()
	for {
		got, err := p.next()
		if err != nil {
			p.t.Fatalf("waiting for %+v: %v", h, err)
		}
		if got == h {
			return
		}
	}
}

// alive checks that the session still answers.
func (p *rawPeer) alive() {
	p.t.Helper()
	p.send(Header{Type: TypePing, Flags: FlagSYN, Length: 77}, "")
	p.want(Header{Type: TypePing, Flags: FlagACK, Length: 77})
}

func rst(id uint32) Header { return Header{Type: TypeWindowUpdate, Flags: FlagRST, StreamID: id} }

// TestViolations: what breaks the framing itself ends the session, with an error
// that names the reason and a go-away that the peer can read.
func TestViolations(t *testing.T) {
	tests := []struct {
		name, want string
		send       func(p *rawPeer)
	}{
		{"unknown version", "unknown version 1", func(p *rawPeer) {
			p.conn.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		}},
		{"unknown type", "unknown frame type 9", func(p *rawPeer) {
			p.conn.Write([]byte{0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		}},
		{"unknown flag", "unknown flags 0x0100", func(p *rawPeer) {
			p.conn.Write([]byte{0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0})
		}},
		{"stream 0", "data frame for stream 0", func(p *rawPeer) { p.data(0, "x") }},
		{"a number of ours", "opened stream 2, a number of ours", func(p *rawPeer) { p.syn(2) }},
		{"opened twice", "opened stream 1 twice", func(p *rawPeer) { p.syn(1); p.syn(1) }},
		{"data before the stream", "data frame for stream 1, which nobody opened", func(p *rawPeer) { p.data(1, "x") }},
		{"reset before the stream", "window update frame for stream 4, which nobody opened", func(p *rawPeer) { p.send(rst(4), "") }},
		{"endless frame", "frame of 4294967295 bytes", func(p *rawPeer) {
			p.syn(1)
			p.send(Header{Type: TypeData, StreamID: 1, Length: math.MaxUint32}, "")
		}},
		{"unknown go-away", "unknown code 3", func(p *rawPeer) { p.send(Header{Type: TypeGoAway, Length: 3}, "") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, p := against(t, Config{})
			tt.send(p)
			p.want(Header{Type: TypeGoAway, Length: uint32(GoAwayProtocolError)})
			<-s.Done()
			if err := s.Err(); !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrSessionClosed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("session ended with %v, want %q", err, tt.want)
			}
		})
	}
}

// TestStreamViolations: what breaks the rules of one stream resets that stream; the
// session and its other stream live on.
func TestStreamViolations(t *testing.T) {
	tests := []struct {
		name, want string
		send       func(p *rawPeer) // on stream 1
	}{
		{"window overrun in one frame", "262145 bytes for stream 1, beyond its window", func(p *rawPeer) {
			p.data(1, strings.Repeat("x", InitialWindow+1))
		}},
		{"window overrun by a byte", "1 bytes for stream 1, beyond its window", func(p *rawPeer) {
			p.data(1, strings.Repeat("x", InitialWindow))
			p.data(1, "x")
		}},
		{"data behind the end", "data behind the end of stream 1", func(p *rawPeer) {
			p.send(Header{Type: TypeData, Flags: FlagFIN, StreamID: 1, Length: 3}, "end")
			p.data(1, "x")
		}},
		{"two ends", "ended stream 1 twice", func(p *rawPeer) {
			p.send(Header{Type: TypeWindowUpdate, Flags: FlagFIN, StreamID: 1}, "")
			p.send(Header{Type: TypeWindowUpdate, Flags: FlagFIN, StreamID: 1}, "")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, p := against(t, Config{})
			p.syn(1)
			p.syn(3)
			bad, err := s.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			good, err := s.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tt.send(p)
			p.want(rst(1))
			if _, err := bad.Read(make([]byte, 1)); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read: %v, want %q", err, tt.want)
			}
			p.data(1, "late") // is thrown away
			p.data(3, "fine")
			if got, err := good.Peek(4); string(got) != "fine" || err != nil {
				t.Errorf("the other stream reads %q, %v", got, err)
			}
			p.alive()
			if n := s.NumStreams(); n != 1 {
				t.Errorf("%d streams, want 1", n)
			}
		})
	}
}

// TestRefusals: streams beyond the backlog and beyond the limit are reset, and cost
// nothing; what was sent to them is thrown away.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		prep func(s *Session)
	}{
		{"backlog", Config{AcceptBacklog: 2}, func(*Session) {}},
		{"limit", Config{MaxStreams: 2}, func(*Session) {}},
		{"gone away", Config{}, func(s *Session) { s.GoAway() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, p := against(t, tt.cfg)
			tt.prep(s)
			go func() {
				for id := uint32(1); id < 1000; id += 2 {
					p.syn(id)
					p.data(id, "hello")
				}
			}()
			p.want(rst(999))
			if n := s.NumStreams(); n > 2 {
				t.Errorf("%d streams, want at most 2", n)
			}
			p.alive()
		})
	}
}

// TestDeadBeforeAccept: a stream that was reset while it waited is not handed out.
func TestDeadBeforeAccept(t *testing.T) {
	s, p := against(t, Config{})
	p.syn(1)
	p.send(rst(1), "")
	p.syn(3)
	p.alive() // all of it has been read
	st, err := s.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.ID() != 3 {
		t.Fatalf("accepted stream %d, want 3", st.ID())
	}
	p.want(Header{Type: TypeWindowUpdate, Flags: FlagACK, StreamID: 3})
}

// TestOutOfOrderOpens: a peer's goroutines may race for the connection.
func TestOutOfOrderOpens(t *testing.T) {
	s, p := against(t, Config{})
	for _, id := range []uint32{5, 1, 3} {
		p.syn(id)
		st, err := s.Accept(t.Context())
		if err != nil || st.ID() != id {
			t.Fatalf("accepted %v, %v, want stream %d", st, err, id)
		}
	}
}

// TestCreditOverflow: credit beyond what a u32 holds stays at its most.
func TestCreditOverflow(t *testing.T) {
	s, p := against(t, Config{})
	p.syn(1)
	st, err := s.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.send(Header{Type: TypeWindowUpdate, StreamID: 1, Length: math.MaxUint32}, "")
	}
	p.alive()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.credit != math.MaxUint32 {
		t.Errorf("credit %d, want %d", st.credit, uint32(math.MaxUint32))
	}
}

// TestAskWithoutReading: a peer that provokes frames and reads none loses its
// session before they fill the memory.
func TestAskWithoutReading(t *testing.T) {
	syn := Header{Type: TypeWindowUpdate, Flags: FlagSYN}
	tests := []struct {
		name  string
		ask   []Header
		serve bool // accept, and close
		want  error
	}{
		{"pings", []Header{{Type: TypePing, Flags: FlagSYN, Length: 1}}, false, os.ErrDeadlineExceeded},
		{"opens", []Header{syn}, false, os.ErrDeadlineExceeded},
		{"opens and ends", []Header{syn, {Type: TypeWindowUpdate, Flags: FlagFIN}}, true, errNotReading},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{WriteTimeout: 100 * time.Millisecond}
			if tt.serve {
				cfg = Config{WriteTimeout: time.Minute, AcceptBacklog: 1 << 18, MaxStreams: 1 << 18}
			}
			s, p := against(t, cfg)
			served := make(chan struct{})
			go func() {
				defer close(served)
				for tt.serve {
					st, err := s.Accept(t.Context())
					if err != nil {
						return
					}
					st.Close()
				}
			}()
			var buf bytes.Buffer
			var frame [HeaderLen]byte
			for id := uint32(1); ; id += 2 {
				for _, h := range tt.ask {
					if h.Type != TypePing {
						h.StreamID = id
					}
					h.Put(frame[:])
					buf.Write(frame[:])
				}
				if buf.Len() < 64<<10 {
					continue
				}
				if _, err := p.conn.Write(buf.Bytes()); err != nil {
					break
				}
				buf.Reset()
			}
			<-s.Done()
			<-served
			if err := s.Err(); !errors.Is(err, tt.want) {
				t.Errorf("session ended with %v, want %v", err, tt.want)
			}
			if n := cap(s.out.control); n > 2*maxControl {
				t.Errorf("%d bytes of control frames were kept", n)
			}
		})
	}
}

// TestPingFlood: a peer that reads what it asks for gets every answer.
func TestPingFlood(t *testing.T) {
	const n = 50_000
	s, p := against(t, Config{})
	go func() {
		buf := make([]byte, n*HeaderLen)
		for i := range n {
			Header{Type: TypePing, Flags: FlagSYN, Length: uint32(i)}.Put(buf[i*HeaderLen:])
		}
		p.conn.Write(buf)
	}()
	for i := range uint32(n) {
		h, err := p.next()
		if want := (Header{Type: TypePing, Flags: FlagACK, Length: i}); h != want || err != nil {
			t.Fatalf("answer %d: %+v, %v, session: %v", i, h, err, s.Err())
		}
	}
}

// TestSleeper: a stream that nobody reads stops at its window and stops nobody else,
// and what it holds is not much more than that.
func TestSleeper(t *testing.T) {
	c, s := sessions(t, Config{}, Config{})
	a, b := streams(t, c, s)
	x, y := streams(t, c, s)
	if err := a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n := 0
	var err error
	for err == nil { // in pieces that fit no buffer well
		var m int
		m, err = a.Write(make([]byte, 1500))
		n += m
	}
	if n != InitialWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes, %v; want the window, %d, and a time-out", n, err, InitialWindow)
	}
	waitFor(t, "the window to fill", func() bool { return b.Buffered() == InitialWindow })
	b.mu.Lock()
	held := 0
	for buf := b.rx.head; buf != nil; buf = buf.next {
		held += len(buf.mem)
	}
	b.mu.Unlock()
	if held > InitialWindow+InitialWindow/4 {
		t.Errorf("%d bytes of memory hold %d", held, InitialWindow)
	}
	want := pattern(4*InitialWindow, 3)
	go func() {
		x.Write(want)
		x.Close()
	}()
	if got, err := io.ReadAll(y); err != nil || !bytes.Equal(got, want) {
		t.Errorf("beside a sleeper: read %d bytes of %d, %v", len(got), len(want), err)
	}
}

// TestSwallow: after Close the peer may use up its credit; then it is reset.
func TestSwallow(t *testing.T) {
	s, p := against(t, Config{})
	p.syn(1)
	st, err := s.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	p.want(Header{Type: TypeWindowUpdate, Flags: FlagFIN, StreamID: 1})
	p.data(1, strings.Repeat("x", InitialWindow-1))
	p.alive()
	if n := s.NumStreams(); n != 1 {
		t.Errorf("%d streams while the peer has credit, want 1", n)
	}
	p.data(1, "x")
	p.want(rst(1))
	if n := s.NumStreams(); n != 0 {
		t.Errorf("%d streams, want 0", n)
	}
}

// TestPeerGone: why the session ended is said.
func TestPeerGone(t *testing.T) {
	s, p := against(t, Config{})
	p.conn.Close()
	<-s.Done()
	if err := s.Err(); !strings.Contains(err.Error(), "the peer closed the connection") {
		t.Errorf("Err() = %v", err)
	}
	for code, want := range map[GoAwayCode]error{GoAwayProtocolError: errPeerProtocol, GoAwayInternalError: errPeerInternal} {
		s, p := against(t, Config{})
		p.send(Header{Type: TypeGoAway, Length: uint32(code)}, "")
		<-s.Done()
		if err := s.Err(); !errors.Is(err, want) {
			t.Errorf("Err() = %v, want %v", err, want)
		}
	}
}

// TestOpenWaits: only so many streams may wait for the peer's acknowledgement.
func TestOpenWaits(t *testing.T) {
	s, p := against(t, Config{AcceptBacklog: 1})
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Open(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("second Open: %v, want the context's error", err)
	}
	p.send(Header{Type: TypeWindowUpdate, Flags: FlagACK, StreamID: 2}, "")
	second, err := s.Open(t.Context())
	if err != nil {
		t.Fatalf("Open after the acknowledgement: %v", err)
	}
	p.send(rst(4), "")
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("Read of a refused stream: %v", err)
	}
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatalf("Open after a refusal: %v", err)
	}
}
