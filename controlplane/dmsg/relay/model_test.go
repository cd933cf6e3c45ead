package relay

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// The switch against a model that takes one byte at a time and keeps everything in
// maps. Sessions A and B send what the fuzzer likes, cut into pieces as it likes; C
// only listens. Circuits that pass:
//
//	A 1 ── B 2     A 3 ── C 2     B 1 ── A 2

const (
	sessA = iota
	sessB
	sessC
	numSess
)

// key is a stream at a session.
type key struct {
	s  int
	id uint32
}

// presets maps each stream of a passing circuit to the other end's.
func presets() map[key]key {
	m := map[key]key{{sessA, 1}: {sessB, 2}, {sessA, 3}: {sessC, 2}, {sessB, 1}: {sessA, 2}}
	for a, b := range m {
		m[b] = a
	}
	return m
}

// seen is what a client sees of one stream.
type seen struct {
	data   []byte
	credit uint64
	fin    bool
	rst    bool
	late   bool // something came after the end
}

// A model is the slow, obvious switch.
type model struct {
	peers     map[key]key
	credit    map[key]int64
	fin       map[key]bool
	ended     map[key]bool
	objects   map[key][]byte // of streams whose request comes in
	out       map[key]*seen
	in        [numSess][]byte // bytes of a header
	body      [numSess]yamux.Header
	left      [numSess]uint32
	inBody    [numSess]bool
	top, next [numSess]uint32
	broken    [numSess]bool
	opened    int
	unclear   bool // the outcome depends on how bytes are cut
}

func newModel() *model {
	m := &model{
		peers: presets(), credit: map[key]int64{}, fin: map[key]bool{}, ended: map[key]bool{},
		objects: map[key][]byte{}, out: map[key]*seen{}, top: [numSess]uint32{3, 1, 0}, next: [numSess]uint32{4, 4, 4},
	}
	for k := range m.peers {
		m.credit[k] = yamux.InitialWindow
		m.out[k] = &seen{}
	}
	return m
}

func (m *model) exists(k key) bool { return m.out[k] != nil || m.objects[k] != nil }

// end ends the circuit of a stream.
func (m *model) end(k key) {
	m.ended[k] = true
	if p, ok := m.peers[k]; ok {
		m.ended[p] = true
	}
}

// feed takes bytes of session s.
func (m *model) feed(s int, p []byte) {
	for _, c := range p {
		if m.broken[s] || m.unclear {
			return
		}
		if m.inBody[s] {
			m.byte(s, c)
			continue
		}
		if m.in[s] = append(m.in[s], c); len(m.in[s]) == yamux.HeaderLen {
			h, err := yamux.ParseHeader(m.in[s])
			m.in[s] = nil
			if err != nil || !m.header(s, h) {
				m.breakDown(s)
			}
		}
	}
}

// breakDown ends a session and its circuits.
func (m *model) breakDown(s int) {
	m.broken[s] = true
	for k, p := range m.peers {
		if k.s == s && !m.ended[k] {
			m.end(k)
			m.out[p].rst = true
		}
	}
}

// header handles a header; false is a breach.
func (m *model) header(s int, h yamux.Header) bool {
	k := key{s, h.StreamID}
	switch h.Type {
	case yamux.TypePing:
		return true
	case yamux.TypeGoAway:
		return h.Length == 0
	}
	if h.Flags&syn != 0 {
		if h.StreamID%2 == 0 || m.exists(k) && !m.ended[k] {
			return false
		}
		if m.exists(k) || m.opened > 100 {
			m.unclear = true // an id used again, or limits
			return true
		}
		m.opened++
		m.top[s] = max(m.top[s], h.StreamID)
		m.objects[k] = []byte{}
		m.credit[k] = yamux.InitialWindow
	}
	if !m.exists(k) {
		if known := h.StreamID%2 == 1 && h.StreamID <= m.top[s] || h.StreamID%2 == 0 && h.StreamID != 0 && h.StreamID < m.next[s]; !known {
			return false
		}
		m.unclear = m.unclear || h.Type == data && h.Length > 0
		return true
	}
	if h.Type == update {
		m.update(k, h)
		return true
	}
	if int64(h.Length) > m.credit[k] {
		m.unclear = m.ended[k]
		return false
	}
	m.credit[k] -= int64(h.Length)
	m.body[s], m.left[s], m.inBody[s] = h, h.Length, true
	if h.Length == 0 {
		m.flags(k, h.Flags)
		m.inBody[s] = false
	}
	return true
}

// update handles a window update.
func (m *model) update(k key, h yamux.Header) {
	if p, passing := m.peers[k]; passing && !m.ended[k] {
		n := min(int64(h.Length), maxCredit-m.credit[p])
		m.credit[p] += n
		m.out[p].credit += uint64(n)
	}
	if h.Flags&syn == 0 {
		m.flags(k, h.Flags)
	}
}

// byte handles one byte of a body.
func (m *model) byte(s int, c byte) {
	k := key{s, m.body[s].StreamID}
	p, passing := m.peers[k]
	switch {
	case m.ended[k]:
	case passing && !m.fin[k]:
		m.out[p].data = append(m.out[p].data, c)
	case !passing:
		object := append(m.objects[k], c)
		m.objects[k] = object
		if len(object) == 2 {
			if int(object[0])<<8|int(object[1]) < minObject {
				m.end(k)
			}
		}
		m.unclear = m.unclear || len(object) > minObject
	}
	if m.left[s]--; m.left[s] == 0 {
		m.inBody[s] = false
		m.flags(k, m.body[s].Flags)
	}
}

// flags handles FIN and RST from stream k.
func (m *model) flags(k key, f yamux.Flags) {
	if m.ended[k] || f&(fin|rst) == 0 {
		return
	}
	p, passing := m.peers[k]
	switch {
	case !passing:
		m.end(k)
	case f&rst != 0:
		m.out[p].rst = true
		m.out[p].fin = m.out[p].fin || f&fin != 0 && !m.fin[k]
		m.end(k)
	case !m.fin[k]:
		m.fin[k] = true
		m.out[p].fin = true
		if m.fin[p] {
			m.end(k)
		}
	}
}

// A bench holds a relay with the three sessions, but without readers: bytes are
// handed to the switch directly.
type workbench struct {
	srv      *Server
	sessions [numSess]*session
	got      [numSess]bytes.Buffer
	group    sync.WaitGroup
}

// newWorkbench makes one whose clients remember what they get, or throw it away.
func newWorkbench(t testing.TB, id *proto.Identity, hop *proto.Session, remember bool) *workbench {
	cfg := DefaultConfig()
	cfg.Identity = id
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &workbench{srv: srv}
	for i := range w.sessions {
		ours, theirs := socketPair(t)
		raw, err := ours.(Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(srv, ours, raw, hop, place{})
		s.peer[0] = byte(i)
		if _, ok := srv.join(s); !ok {
			t.Fatal("no place")
		}
		w.sessions[i] = s
		w.group.Go(func() {
			to := io.Writer(&w.got[i])
			if !remember {
				to = io.Discard
			}
			_, _ = io.Copy(to, theirs)
			_ = theirs.Close()
		})
	}
	for a, b := range presets() {
		if a.id%2 == 0 {
			continue
		}
		c := &circuit{}
		c.stage.Store(passing)
		for side, k := range []key{a, b} {
			c.ends[side].session, c.ends[side].id = w.sessions[k.s], k.id
			c.ends[side].credit.Store(yamux.InitialWindow)
			w.sessions[k.s].remember(k.id, c)
		}
	}
	m := newModel()
	for i, s := range w.sessions {
		s.top, s.next = m.top[i], m.next[i]
	}
	return w
}

// socketPair returns two connected sockets of this machine.
func socketPair(t testing.TB) (net.Conn, net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if out[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return out[0], out[1]
}

// feed hands bytes to a session as its reader would.
func (w *workbench) feed(i int, p []byte) {
	s := w.sessions[i]
	for len(p) > 0 && !s.closing.Load() {
		b := w.srv.batches.Get().(*batch)
		n := copy(b.buf[headroom:], p)
		p = p[n:]
		from := headroom - s.fragLen
		copy(b.buf[from:], s.fragment[:s.fragLen])
		s.fragLen = 0
		if err := s.handle(b, from, headroom+n); err != nil {
			s.close(err.(*errStop).reason)
		}
		w.srv.batches.Put(b)
	}
}

// finish closes everything and returns what the clients have seen.
func (w *workbench) finish(t testing.TB) map[key]*seen {
	for _, s := range w.sessions {
		for deadline := time.Now().Add(patience); s.out.busy(); time.Sleep(100 * time.Microsecond) {
			if time.Now().After(deadline) {
				t.Fatal("a queue does not drain")
			}
		}
	}
	for _, s := range w.sessions {
		s.out.mu.Lock()
		s.out.dead = true // the resets of its end are not of interest
		s.out.mu.Unlock()
	}
	for _, s := range w.sessions {
		s.close(EndedByShutdown)
	}
	w.group.Wait()
	w.srv.group.Wait()
	out := map[key]*seen{}
	for i := range w.got {
		b := w.got[i].Bytes()
		for len(b) >= yamux.HeaderLen {
			h, err := yamux.ParseHeader(b)
			if err != nil {
				t.Fatalf("session %d got a bad header: %v", i, err)
			}
			b = b[yamux.HeaderLen:]
			if h.Type == yamux.TypePing || h.Type == yamux.TypeGoAway {
				continue
			}
			k := key{i, h.StreamID}
			if out[k] == nil {
				out[k] = &seen{}
			}
			o := out[k]
			o.late = o.late || o.rst || o.fin && h.BodyLen() > 0
			if h.Type == data {
				n := int(h.Length)
				if n > len(b) {
					t.Fatalf("session %d got half a frame", i)
				}
				o.data = append(o.data, b[:n]...)
				b = b[n:]
			} else {
				o.credit += uint64(h.Length)
			}
			o.fin = o.fin || h.Flags&fin != 0
			o.rst = o.rst || h.Flags&rst != 0
		}
		if len(b) > 0 {
			t.Fatalf("session %d got half a header", i)
		}
	}
	return out
}

// hopFor shakes hands over a pipe, once for all runs.
func hopFor(t testing.TB, id *proto.Identity) *proto.Session {
	client := identity(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _, _ = client.DialSession(context.Background(), a, id.PubKey()) }()
	hop, err := id.AcceptSession(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	return hop
}

// compare runs a script and compares what comes out. A script is a sequence of
// steps: one byte, of which the lowest bit names the session and the rest is the
// number of bytes that follow it.
func compare(t *testing.T, id *proto.Identity, hop *proto.Session, script []byte) {
	w, m := newWorkbench(t, id, hop, true), newModel()
	for len(script) > 0 {
		who, n := int(script[0]&1), min(int(script[0]>>1), len(script)-1)
		piece := script[1 : 1+n]
		script = script[1+n:]
		m.feed(who, piece)
		w.feed(who, piece)
	}
	out := w.finish(t)
	if m.unclear {
		return
	}
	if got, want := w.srv.stats.violations(), m.violations(); got != want {
		t.Fatalf("%d violations, want %d", got, want)
	}
	for k, want := range m.out {
		if m.broken[k.s] {
			continue // gone: it does not see the rest
		}
		got := out[k]
		if got == nil {
			got = &seen{}
		}
		if !bytes.Equal(got.data, want.data) || got.credit != want.credit || got.fin != want.fin || got.rst != want.rst || got.late {
			t.Errorf("stream %v: %d bytes, credit %d, fin %v, rst %v, late %v; want %d, %d, %v, %v",
				k, len(got.data), got.credit, got.fin, got.rst, got.late, len(want.data), want.credit, want.fin, want.rst)
		}
	}
}

func (m *model) violations() (n int) {
	for _, b := range m.broken {
		if b {
			n++
		}
	}
	return n
}

func (s *stats) violations() (n int) {
	Reasons(func(r Reason) {
		if r.Violation() {
			n += int(s.reasons[r].Load())
		}
	})
	return n
}
