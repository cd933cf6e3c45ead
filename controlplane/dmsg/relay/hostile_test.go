package relay

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	data   = yamux.TypeData
	update = yamux.TypeWindowUpdate
	syn    = yamux.FlagSYN
	fin    = yamux.FlagFIN
	rst    = yamux.FlagRST
)

// Whoever breaks a rule of yamux loses the session, with its reason counted. The
// other sessions, the circuits among them and even the offender's peers go on.
func TestViolations(t *testing.T) {
	tests := []struct {
		why  Reason
		name string
		do   func(p *peer, passing uint32) // passing is a stream to the witness
	}{
		{ViolationHeader, "version", func(p *peer, _ uint32) { p.write([]byte{1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}) }},
		{ViolationHeader, "type", func(p *peer, _ uint32) { p.write([]byte{0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}) }},
		{ViolationHeader, "flags", func(p *peer, _ uint32) { p.write([]byte{0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0}) }},
		{ViolationStreamID, "even id", func(p *peer, _ uint32) { p.send(yamux.Header{Type: update, Flags: syn, StreamID: 2}, nil) }},
		{ViolationStreamID, "id 0", func(p *peer, _ uint32) { p.send(yamux.Header{Type: data, Flags: syn, StreamID: 0}, nil) }},
		{ViolationSYN, "opened twice", func(p *peer, at uint32) { p.send(yamux.Header{Type: update, Flags: syn, StreamID: at}, nil) }},
		{ViolationUnknown, "data", func(p *peer, _ uint32) { p.send(yamux.Header{Type: data, StreamID: 99}, []byte("x")) }},
		{ViolationUnknown, "window update", func(p *peer, _ uint32) { p.send(yamux.Header{Type: update, StreamID: 99, Length: 1}, nil) }},
		{ViolationUnknown, "a stream of ours that is not", func(p *peer, _ uint32) { p.send(yamux.Header{Type: update, StreamID: 98}, nil) }},
		{ViolationUnknown, "id 0", func(p *peer, _ uint32) { p.send(yamux.Header{Type: data, StreamID: 0}, nil) }},
		{ViolationWindow, "in one frame", func(p *peer, at uint32) {
			p.write(frameBytes(yamux.Header{Type: data, StreamID: at, Length: yamux.InitialWindow}))
		}},
		{ViolationWindow, "length of 4 GB", func(p *peer, at uint32) {
			p.write(frameBytes(yamux.Header{Type: data, StreamID: at, Length: 1<<32 - 1}))
		}},
		{ViolationWindow, "while the request is due", func(p *peer, _ uint32) {
			p.send(yamux.Header{Type: update, Flags: syn, StreamID: 99}, nil)
			p.write(frameBytes(yamux.Header{Type: data, StreamID: 99, Length: yamux.InitialWindow + 1}))
		}},
		{ViolationClosed, "more than was under way", func(p *peer, at uint32) {
			p.send(yamux.Header{Type: update, Flags: rst, StreamID: at}, nil)
			frame := append(frameBytes(yamux.Header{Type: data, StreamID: at, Length: 64 << 10}), make([]byte, 64<<10)...)
			for range 5 { // the relay may have hung up before the last
				if _, err := p.conn.Write(frame); err != nil {
					return
				}
			}
		}},
		{ViolationEarly, "behind the request", func(p *peer, _ uint32) {
			signed := p.request(p.id.PubKey())
			p.send(yamux.Header{Type: update, Flags: syn, StreamID: 99}, nil)
			p.send(yamux.Header{Type: data, StreamID: 99}, append(p.seal(signed), 'x'))
		}},
		{ViolationEarly, "before the response", func(p *peer, _ uint32) {
			id, _ := p.open(p.id.PubKey())
			p.accept()
			p.send(yamux.Header{Type: data, StreamID: id}, []byte("x"))
		}},
		{ViolationGoAway, "says that we are wrong", func(p *peer, _ uint32) {
			p.send(yamux.Header{Type: yamux.TypeGoAway, Length: uint32(yamux.GoAwayProtocolError)}, nil)
		}},
		{ViolationForged, "again and again", func(p *peer, _ uint32) {
			signed := p.request(p.id.PubKey())
			signed[70] ^= 1
			for range 2 * maxForged { // the count may begin anew once meanwhile
				object := p.seal(signed)
				frames := frameBytes(yamux.Header{Type: update, Flags: syn, StreamID: p.next})
				frames = append(frames, frameBytes(yamux.Header{Type: data, StreamID: p.next, Length: uint32(len(object))})...)
				if _, err := p.conn.Write(append(frames, object...)); err != nil {
					return
				}
				h, _, err := p.tryRecv()
				if err != nil || h.Type == yamux.TypeGoAway {
					return
				}
				if want := (yamux.Header{Type: update, Flags: rst, StreamID: p.next}); h != want {
					p.t.Errorf("frame %+v, want %+v", h, want)
				}
				p.next += 2
			}
		}},
		{ViolationSYNFlood, "2^24 streams", func(p *peer, _ uint32) {
			go func() { // the relay answers, so somebody has to read
				for {
					if _, _, err := p.tryRecv(); err != nil {
						return
					}
				}
			}()
			for id := uint32(1001); id < 1<<24; id += 2 {
				if _, err := p.conn.Write(frameBytes(yamux.Header{Type: update, Flags: syn, StreamID: id})); err != nil {
					return
				}
			}
		}},
	}
	r := newRig(t, nil)
	witness, other := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, there := dial(witness, other)
	var violations uint64
	for _, tt := range tests {
		t.Run(tt.why.String()+"/"+tt.name, func(t *testing.T) {
			before := r.stats.reasons[tt.why].Load()
			p := r.connect(t, identity(t))
			passing, toWitness := dial(p, witness)
			tt.do(p, passing)
			r.count(t, tt.why, before+1)
			if tt.why != ViolationSYNFlood { // somebody else reads there
				p.gone()
			}
			violations++
			h, _ := witness.recv()
			if h.StreamID != toWitness || h.Flags != rst {
				t.Errorf("the peer of the offender's stream got %+v, want a reset", h)
			}
			witness.send(yamux.Header{Type: data, StreamID: at}, []byte("still here"))
			if got := other.data(there, 10); string(got) != "still here" {
				t.Errorf("the others got %q", got)
			}
			if r.find(p.id.PubKey()) != nil {
				t.Error("the offender is still reachable")
			}
		})
	}
	s := r.Snapshot()
	Reasons(func(why Reason) {
		if why.Violation() {
			violations -= s.Count(why)
		}
	})
	if violations != 0 {
		t.Errorf("%d violations too few were counted", int64(violations))
	}
}

// What deployed software does by accident is no breach.
func TestTolerated(t *testing.T) {
	tests := []struct {
		name string
		do   func(p *peer, at uint32)
	}{
		{"data after FIN", func(p *peer, at uint32) {
			p.send(yamux.Header{Type: update, Flags: fin, StreamID: at}, nil)
			p.send(yamux.Header{Type: data, StreamID: at}, []byte("late"))
		}},
		{"FIN twice", func(p *peer, at uint32) {
			p.send(yamux.Header{Type: update, Flags: fin, StreamID: at}, nil)
			p.send(yamux.Header{Type: data, Flags: fin, StreamID: at}, nil)
		}},
		{"data after a reset", func(p *peer, at uint32) {
			p.send(yamux.Header{Type: update, Flags: rst, StreamID: at}, nil)
			p.send(yamux.Header{Type: data, StreamID: at}, make([]byte, 60<<10))
		}},
		{"window update and reset after the end", func(p *peer, at uint32) {
			p.send(yamux.Header{Type: update, Flags: rst, StreamID: at}, nil)
			p.send(yamux.Header{Type: update, StreamID: at, Length: 1000}, nil)
			p.send(yamux.Header{Type: update, Flags: rst, StreamID: at}, nil)
		}},
		{"an empty frame", func(p *peer, at uint32) { p.send(yamux.Header{Type: data, StreamID: at}, nil) }},
		{"ACK again", func(p *peer, at uint32) { p.send(yamux.Header{Type: update, Flags: yamux.FlagACK, StreamID: at}, nil) }},
		{"credit without end", func(p *peer, at uint32) {
			for range 4 {
				p.send(yamux.Header{Type: update, StreamID: at, Length: 1<<32 - 1}, nil)
			}
		}},
		{"an answer to no ping", func(p *peer, _ uint32) {
			p.send(yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagACK, Length: 5}, nil)
		}},
		{"ids out of order", func(p *peer, _ uint32) {
			p.send(yamux.Header{Type: update, Flags: syn, StreamID: 101}, nil)
			p.send(yamux.Header{Type: update, Flags: syn, StreamID: 99}, nil)
		}},
	}
	r := newRig(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, q := r.connect(t, identity(t)), r.connect(t, identity(t))
			at, _ := dial(p, q)
			tt.do(p, at)
			p.send(yamux.Header{Type: yamux.TypePing, Flags: syn, Length: 7}, nil)
			if h, _ := p.recv(); h.Type != yamux.TypePing {
				t.Errorf("got %+v, want the answer to a ping", h)
			}
		})
	}
}

// The credit that passes through never lets a sender's u32 wrap around.
func TestCreditIsClamped(t *testing.T) {
	r := newRig(t, nil)
	p, q := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, there := dial(p, q)
	c := r.circuit(p, at)
	have := c.ends[dialer].credit.Load()
	for range 3 {
		q.send(yamux.Header{Type: update, StreamID: there, Length: 1<<32 - 1}, nil)
	}
	q.send(yamux.Header{Type: data, StreamID: there}, []byte("end"))
	var granted uint64
	for {
		h, _ := p.recv()
		if h.Type == data {
			break
		}
		granted += uint64(h.Length)
	}
	if got := uint64(have) + granted; got != maxCredit {
		t.Errorf("the sender was granted %d in all, want %d", got, uint64(maxCredit))
	}
}

// A request that is no good costs its stream alone.
func TestBadRequests(t *testing.T) {
	r := newRig(t, nil)
	p, q := r.connect(t, identity(t)), r.connect(t, identity(t))
	other := identity(t)
	spoil := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	var sent proto.Signed
	sealed := func(signed proto.Signed) []byte { sent = signed; return p.seal(signed) }
	tests := []struct {
		name   string
		object func() []byte
		why    Reason
		code   proto.Code // 0: reset
	}{
		{"too short", func() []byte { return []byte{0, 8, 1, 2} }, ResetRequest, 0},
		{"length 0", func() []byte { return []byte{0, 0} }, ResetRequest, 0},
		{"wrong tag", func() []byte { b := p.seal(p.request(q.id.PubKey())); return spoil(b, len(b)-1) }, ResetRequest, 0},
		{"unsealed", func() []byte {
			b := p.request(q.id.PubKey())
			return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
		}, ResetRequest, 0},
		{"forged", func() []byte { return p.seal(spoil(p.request(q.id.PubKey()), 70)) }, ResetRequest, 0},
		{"no gob", func() []byte { return p.seal(make([]byte, 300)) }, ResetRequest, 0},
		{"a gob bomb", func() []byte { return p.seal(append(make([]byte, 65), bytes.Repeat([]byte{0xff}, 60_000)...)) }, ResetRequest, 0},
		{"of somebody else", func() []byte {
			return sealed((&peer{t: t, id: other}).request(q.id.PubKey()))
		}, ResetRequest, proto.ErrReqSrcKey},
		{"nobody there", func() []byte { pk, _ := cipher.GenerateKeyPair(); return sealed(p.request(pk)) }, ResetNoSession, proto.ErrNoSession},
		{"to no point of the curve", func() []byte { return sealed(p.request(cipher.PubKey{0: 2, 32: 5})) }, ResetNoSession, proto.ErrNoSession},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := r.stats.reasons[tt.why].Load()
			id := p.next
			p.next += 2
			p.send(yamux.Header{Type: update, Flags: syn, StreamID: id}, nil)
			p.send(yamux.Header{Type: data, StreamID: id}, tt.object())
			h, body := p.recv()
			if tt.code == 0 {
				if h != (yamux.Header{Type: update, Flags: rst, StreamID: id}) {
					t.Errorf("got %+v, want a reset", h)
				}
			} else {
				plain, err := p.hop.Open(body[2:])
				if err != nil || h.Flags != yamux.FlagACK|fin {
					t.Fatalf("got %+v, %v", h, err)
				}
				response, err := proto.Signed(plain).Response(sent.Hash(), r.PubKey())
				if err != nil || response.Accepted || response.ErrCode != tt.code {
					t.Errorf("refusal %+v, %v, want code %d", response, err, tt.code)
				}
			}
			r.count(t, tt.why, before+1)
		})
	}
	// A repetition, sealed anew.
	signed := p.request(q.id.PubKey())
	for i := range 2 {
		id := p.next
		p.next += 2
		p.send(yamux.Header{Type: update, Flags: syn, StreamID: id}, nil)
		p.send(yamux.Header{Type: data, StreamID: id}, p.seal(signed))
		if i == 0 {
			q.accept()
			continue
		}
		h, body := p.recv()
		plain, err := p.hop.Open(body[2:])
		if err != nil {
			t.Fatal(err)
		}
		response, err := proto.Signed(plain).Response(signed.Hash(), r.PubKey())
		if err != nil || response.Accepted || response.ErrCode != proto.ErrReqTimestamp || h.StreamID != id {
			t.Errorf("a repeated request: %+v, %v", response, err)
		}
	}
	dial(p, q) // and the session is fine
}

// A response that is no good, or none at all, ends the dial at once.
func TestBadResponses(t *testing.T) {
	tests := []struct {
		name string
		do   func(l *peer, there uint32, hash [32]byte)
		why  Reason
	}{
		{"closed", func(l *peer, there uint32, _ [32]byte) {
			l.send(yamux.Header{Type: update, Flags: fin, StreamID: there}, nil)
		}, ResetByListener},
		{"reset", func(l *peer, there uint32, _ [32]byte) {
			l.send(yamux.Header{Type: update, Flags: rst, StreamID: there}, nil)
		}, ResetByListener},
		{"half of it, then closed", func(l *peer, there uint32, hash [32]byte) {
			b := l.response(hash, true)
			l.send(yamux.Header{Type: data, Flags: fin, StreamID: there}, b[:len(b)/2])
		}, ResetByListener},
		{"for another request", func(l *peer, there uint32, hash [32]byte) {
			hash[0]++
			l.send(yamux.Header{Type: data, StreamID: there}, l.response(hash, true))
		}, ResetResponse},
		{"of somebody else", func(l *peer, there uint32, hash [32]byte) {
			other := &peer{t: l.t, id: identity(l.t), hop: l.hop}
			l.send(yamux.Header{Type: data, StreamID: there}, other.response(hash, true))
		}, ResetResponse},
		{"garbage", func(l *peer, there uint32, _ [32]byte) {
			l.send(yamux.Header{Type: data, StreamID: there}, append([]byte{1, 0}, make([]byte, 256)...))
		}, ResetResponse},
		{"with data behind it", func(l *peer, there uint32, hash [32]byte) {
			hash[0]++
			l.send(yamux.Header{Type: data, StreamID: there}, append(l.response(hash, true), "and more"...))
		}, ResetResponse},
		{"the session goes", func(l *peer, _ uint32, _ [32]byte) { l.conn.Close() }, ResetSessionGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil)
			d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
			at, hash := d.open(l.id.PubKey())
			there, _ := l.accept()
			tt.do(l, there, hash)
			d.want(yamux.Header{Type: update, Flags: rst, StreamID: at})
			r.count(t, tt.why, 1)
			s := r.find(d.id.PubKey())
			r.until(t, func() bool { return s.streams() == 0 && s.setups.Load() == 0 }, "circuits to go")
		})
	}
}

// A signed refusal is passed on, and so is the FIN behind it, also in one frame.
func TestSignedRefusal(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, hash := d.open(l.id.PubKey())
	there, _ := l.accept()
	l.send(yamux.Header{Type: data, Flags: yamux.FlagACK | fin, StreamID: there}, l.response(hash, false))
	d.want(yamux.Header{Type: update, Flags: yamux.FlagACK, StreamID: at})
	response, err := proto.Signed(d.object(at)).Response(hash, l.id.PubKey())
	if err != nil || response.Accepted || response.ErrCode != proto.ErrNoListener {
		t.Fatalf("%+v, %v", response, err)
	}
	d.want(yamux.Header{Type: data, Flags: fin, StreamID: at})
}

// Data may share a frame with the end of the response, and the response may come in
// any pieces.
func TestDataBehindResponse(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, hash := d.open(l.id.PubKey())
	there, _ := l.accept()
	b := append(l.response(hash, true), "hello"...)
	cut := len(b) - 20
	l.send(yamux.Header{Type: update, Flags: yamux.FlagACK, StreamID: there, Length: 1000}, nil)
	for i := range cut {
		l.send(yamux.Header{Type: data, StreamID: there}, b[i:i+1])
	}
	l.send(yamux.Header{Type: data, StreamID: there}, b[cut:])
	l.send(yamux.Header{Type: update, StreamID: there, Length: 2000}, nil)
	h, _ := d.recv() // the credit before the response comes with the ACK
	if h.Type != update || h.Flags != yamux.FlagACK || h.Length < 1000 {
		t.Fatalf("got %+v", h)
	}
	d.object(at)
	if got := d.data(at, 5); string(got) != "hello" {
		t.Fatalf("got %q", got)
	}
	if h.Length == 1000 {
		d.want(yamux.Header{Type: update, StreamID: at, Length: 2000})
	}
}

// Half-open set-ups hold little memory: few of them may announce long objects.
func TestLongRequests(t *testing.T) {
	r := newRig(t, nil)
	p := r.connect(t, identity(t))
	long := binary.BigEndian.AppendUint16(nil, 65535)
	for range bigSetups + 1 {
		p.send(yamux.Header{Type: update, Flags: syn, StreamID: p.next}, nil)
		p.send(yamux.Header{Type: data, StreamID: p.next}, long)
		p.next += 2
	}
	p.want(yamux.Header{Type: update, Flags: rst, StreamID: p.next - 2})
	r.count(t, ResetCapacity, 1)
	if n := r.find(p.id.PubKey()).setups.Load(); n != bigSetups {
		t.Errorf("%d set-ups left, want %d", n, bigSetups)
	}
	dial(p, p) // requests as long as they are are welcome
}

// Nobody holds a place with a handshake or a request that does not come.
func TestSlowLoris(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	silent, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write([]byte{0, 49, 2}); err != nil {
		t.Fatal(err)
	}
	d.send(yamux.Header{Type: update, Flags: syn, StreamID: 101}, nil)                                                // no request
	d.send(yamux.Header{Type: update, Flags: syn, StreamID: 103}, nil)                                                // half a request
	d.send(yamux.Header{Type: data, StreamID: 103}, d.seal(d.request(l.id.PubKey()))[:100])                           //
	d.write(append(frameBytes(yamux.Header{Type: data, StreamID: 101, Length: 300}), bytes.Repeat([]byte{1}, 10)...)) // half a frame
	l.send(yamux.Header{Type: update, Flags: syn, StreamID: 1}, nil)
	for _, conn := range []net.Conn{silent, slow} {
		closed(t, conn)
	}
	r.count(t, RefusedHandshake, 2)
	r.count(t, ResetTimeout, 3)
	for range 2 {
		if h, _ := d.recv(); h.Flags != rst {
			t.Errorf("got %+v, want a reset", h)
		}
	}
	if n := r.Snapshot().Sessions; n != 2 {
		t.Errorf("%d sessions left, want 2", n)
	}
}

// 49 bytes that are no point of the curve must not hurt anybody.
func TestBadPoint(t *testing.T) {
	r := newRig(t, nil)
	for _, point := range [][]byte{make([]byte, 33), bytes.Repeat([]byte{0xff}, 33), append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(append(append([]byte{0, 49}, point...), make([]byte, 16)...)); err != nil {
			t.Fatal(err)
		}
		closed(t, conn)
	}
	r.count(t, RefusedHandshake, 3)
	r.connect(t, identity(t))
}
