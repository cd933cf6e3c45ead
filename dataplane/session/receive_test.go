package session

import (
	"bytes"
	"encoding/binary"
	"maps"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/forward"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// A bareSession is a session without links, clock or goroutines: packets are put into its
// routes by hand, and what the peer would send is sealed by hand.
type bareSession struct {
	s      *Session
	sealed *route
	direct *route
	up     *recorder
	ep     *epoch
	send   sendState // the peer's number space on the sealed route
}

const barePhase = 2

func newBare(t testing.TB) *bareSession {
	t.Helper()
	b := &bareSession{up: newRecorder(false)}
	m := &Manager{upper: b.up, log: zerolog.Nop(), kick: make(chan struct{}, 1)}
	m.cfg.Limits = noise.DefaultLimits()
	m.shaker = newHandshaker(m)
	pk, _ := cipher.GenerateKeyPair()
	var err error
	if b.s, err = newSession(m, end{peer: pk}, 0); err != nil {
		t.Fatal(err)
	}
	b.sealed = &route{s: b.s, id: 77, egress: new(forward.Egress)}
	b.direct = &route{s: b.s, direct: new(link.Link)}
	b.s.routes = []*route{b.sealed, b.direct}
	b.ep = noise.NewEpoch(noise.Keys{Recv: [32]byte{1}}, barePhase, barePhase, epochState{first: b.sealed})
	b.s.ring.InstallInitiator(b.ep, 0)
	b.send = sendState{epoch: noise.NewEpoch(noise.Keys{Send: [32]byte{1}}, barePhase, barePhase, epochState{}), id: 9}
	b.sealed.recv[barePhase] = &recvState{epoch: b.ep, id: 9}
	return b
}

// seal makes a route packet as the peer would.
func (b *bareSession) seal(kind packet.Kind, payload []byte) []byte {
	counter, err := b.send.counter.Reserve(1)
	if err != nil {
		panic(err)
	}
	return b.sealAt(kind, payload, counter)
}

func (b *bareSession) sealAt(kind packet.Kind, payload []byte, counter uint64) []byte {
	var nonce noise.Nonce
	n := len(payload) + sealOverhead
	pkt := make([]byte, packet.Padded(n))
	packet.RouteHeader{Label: 5, Kind: kind, Flags: barePhase, Length: uint16(n)}.Put(pkt)
	binary.BigEndian.PutUint64(pkt[8:], counter)
	copy(pkt[16:], payload)
	plain := pkt[16 : 16+len(payload)]
	b.send.epoch.Send.Seal(plain[:0], plain, pkt[4:8], &nonce, b.send.id, counter)
	return pkt
}

func plain(kind packet.Kind, flags uint8, body []byte) []byte {
	pkt := make([]byte, packet.Padded(len(body)))
	packet.RouteHeader{Label: 5, Kind: kind, Flags: flags, Length: uint16(len(body))}.Put(pkt)
	copy(pkt[8:], body)
	return pkt
}

func (b *bareSession) receive(r *route, pkts ...[]byte) {
	burst := &link.Burst{Now: int64(time.Second)}
	burst.N = copy(burst.Pkt[:], pkts)
	r.Receive(burst, 0, burst.N, nil)
}

func TestReceiveDelivers(t *testing.T) {
	b := newBare(t)
	b.receive(b.sealed,
		b.seal(packet.KindData, []byte("\x01tcp one")),
		b.seal(packet.KindData, []byte("\x01tcp two")),
		b.seal(packet.KindData, []byte("\x02udp")),
		b.seal(packet.KindData, []byte("\x04\x00\x00\x00\x07\x00\x00\x00\x08\x02frag")), // 8 bytes in two pieces
		b.seal(packet.KindData, []byte("\x04\x00\x00\x00\x07\x00\x05\x00\x08men")))
	b.receive(b.direct, plain(packet.KindData, 0, []byte("\x03bare")))
	want := []string{"\x01tcp one", "\x01tcp two", "\x02udp", "\x02fragmen", "\x03bare"}
	if len(b.up.got) != len(want) {
		t.Fatalf("%d payloads, want %d; drops %v", len(b.up.got), len(want), b.s.m.Drops())
	}
	for i := range want {
		if string(b.up.got[i]) != want[i] {
			t.Errorf("payload %d = %q, want %q", i, b.up.got[i], want[i])
		}
	}
	if rx := b.sealed.rx.Load(); rx != 5 {
		t.Errorf("%d data packets counted, want 5", rx)
	}
}

func TestReceiveDropsAndSaysWhy(t *testing.T) {
	data := []byte("\x01data")
	long := bytes.Repeat([]byte{1}, 64)
	flip := func(pkt []byte, at int) []byte { pkt[at] ^= 1; return pkt }
	tests := []struct {
		name string
		pkt  func(b *bareSession) []byte
		on   func(b *bareSession) *route
		want string
	}{
		{"unsealed where keys are needed", func(*bareSession) []byte { return plain(packet.KindData, barePhase, long) }, sealedRoute, "forged"},
		{"unsealed and short", func(*bareSession) []byte { return plain(packet.KindData, barePhase, data) }, sealedRoute, "forged"},
		{"unsealed reply", func(*bareSession) []byte { return plain(packet.KindReply, barePhase, long[:replyLen]) }, sealedRoute, "forged"},
		{"phase not in use", func(*bareSession) []byte { return plain(packet.KindData, 1, long) }, sealedRoute, "no_keys"},
		{"unknown flag", func(*bareSession) []byte { return plain(packet.KindData, 4, long) }, sealedRoute, "malformed"},
		{"flags on a direct label", func(*bareSession) []byte { return plain(packet.KindData, 1, data) }, directRoute, "malformed"},
		{"bit flipped in the body", func(b *bareSession) []byte { return flip(b.seal(packet.KindData, data), 17) }, sealedRoute, "forged"},
		{"bit flipped in the tag", func(b *bareSession) []byte { return flip(b.seal(packet.KindData, data), 22) }, sealedRoute, "forged"},
		{"bit flipped in the number", func(b *bareSession) []byte { return flip(b.seal(packet.KindData, data), 15) }, sealedRoute, "forged"},
		{"kind changed on the way", func(b *bareSession) []byte {
			p := b.seal(packet.KindData, data)
			p[4] = byte(packet.KindProbe)
			return p
		}, sealedRoute, "forged"},
		{"sealed for another route", func(b *bareSession) []byte { b.send.id = 10; return b.seal(packet.KindData, data) }, sealedRoute, "forged"},
		{"padding too long", func(b *bareSession) []byte { return append(b.seal(packet.KindData, data), make([]byte, 16)...) }, sealedRoute, "malformed"},
		{"cut off", func(b *bareSession) []byte { return b.seal(packet.KindData, long)[:32] }, sealedRoute, "malformed"},
		{"route error on a label", func(*bareSession) []byte { return plain(packet.KindError, 0, long[:8]) }, directRoute, "kind"},
		{"unknown kind", func(*bareSession) []byte { return plain(99, 0, data) }, directRoute, "kind"},
		{"unknown proto", func(*bareSession) []byte { return plain(packet.KindData, 0, []byte("\x63x")) }, directRoute, "proto"},
		{"empty payload", func(*bareSession) []byte { return plain(packet.KindData, 0, nil) }, directRoute, "malformed"},
		{"fragment of a fragment", func(*bareSession) []byte {
			return plain(packet.KindData, 0, []byte("\x04\x00\x00\x00\x07\x00\x00\x00\x03\x04ab"))
		}, directRoute, "proto"},
		{"fragment beyond its total", func(*bareSession) []byte {
			return plain(packet.KindData, 0, []byte("\x04\x00\x00\x00\x07\x00\x02\x00\x03ab"))
		}, directRoute, "malformed"},
		{"short probe", func(*bareSession) []byte { return plain(packet.KindProbe, 0, data) }, directRoute, "malformed"},
		{"reply with a token from nowhere", func(*bareSession) []byte { return plain(packet.KindReply, 0, long[:replyLen]) }, directRoute, "malformed"},
		{"bind without keys", func(*bareSession) []byte {
			return plain(packet.KindSess, 1, append(appendMessageHeader(nil, msgBind), long...))
		}, sealedRoute, "no_keys"},
		{"forged bind", func(*bareSession) []byte {
			return plain(packet.KindSess, barePhase, append(appendMessageHeader(nil, msgBind), long...))
		}, sealedRoute, "forged"},
		{"session message of another version", func(*bareSession) []byte { return plain(packet.KindSess, 0, []byte{1, 9, 0, 0}) }, sealedRoute, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBare(t)
			b.receive(tt.on(b), tt.pkt(b))
			if got, want := b.s.m.Drops(), map[string]uint64{tt.want: 1}; !maps.Equal(got, want) {
				t.Errorf("drops = %v, want %v", got, want)
			}
			if len(b.up.got) != 0 {
				t.Errorf("%q was delivered", b.up.got)
			}
		})
	}
}

func sealedRoute(b *bareSession) *route { return b.sealed }
func directRoute(b *bareSession) *route { return b.direct }

func TestReceiveReplayed(t *testing.T) {
	b := newBare(t)
	one := b.seal(packet.KindData, []byte("\x01one"))
	b.receive(b.sealed, bytes.Clone(one), bytes.Clone(one))
	b.receive(b.sealed, b.sealAt(packet.KindData, []byte("\x01far"), 20_000), bytes.Clone(one))
	if d := b.s.m.Drops()["replayed"]; d != 2 || len(b.up.got) != 2 {
		t.Errorf("%d replays dropped, %d delivered; want 2 and 2", d, len(b.up.got))
	}
}

// bindPacket makes a bind of id under the bare session's keys.
func (b *bareSession) bindPacket(id uint32, counter uint64, tlvs []byte) []byte {
	var nonce noise.Nonce
	body := appendMessageHeader(nil, msgBind)
	body = binary.BigEndian.AppendUint32(body, id)
	body = binary.BigEndian.AppendUint64(body, counter)
	body = b.send.epoch.Send.Seal(body, tlvs, body[:bindADLen], &nonce, id, counter)
	return plain(packet.KindSess, barePhase, body)
}

func TestBind(t *testing.T) {
	b := newBare(t)
	b.sealed.prepare(b.ep)
	other := &route{s: b.s, id: 78, egress: new(forward.Egress)}
	b.s.routes = append(b.s.routes, other)
	other.prepare(b.ep)

	bind := b.bindPacket(100, 0, appendBindTLVs(nil, 0, true))
	b.receive(other, bytes.Clone(bind))
	if rs := other.recv[barePhase]; rs == nil || rs.id != 100 {
		t.Fatalf("id not bound: %+v; drops %v", rs, b.s.m.Drops())
	}
	if other.send.Load() != nil {
		t.Error("route is used before the peer has bound our id")
	}
	b.receive(other, bytes.Clone(bind))    // again: the window knows it
	b.receive(b.sealed, bytes.Clone(bind)) // on another label
	if d := b.s.m.Drops(); d["replayed"] != 1 || d["bind"] != 1 {
		t.Errorf("drops %v, want a replay and a refused bind", d)
	}
	b.receive(other, b.bindPacket(100, 1, appendBindTLVs(nil, 78, false)))
	if st := other.send.Load(); st == nil || st.epoch != b.ep || st.id != 78 {
		t.Errorf("route not ready after the peer bound our id: %+v", st)
	}
	// The peer chooses another id; the old one must not come back.
	b.receive(other, b.bindPacket(101, 0, appendBindTLVs(nil, 78, false)))
	if other.recv[barePhase].id != 101 {
		t.Error("a new id was not bound")
	}
	b.receive(other, b.bindPacket(100, 2, appendBindTLVs(nil, 78, false)))
	if other.recv[barePhase].id != 101 || b.s.m.Drops()["bind"] != 2 {
		t.Errorf("an old id came back: %d, drops %v", other.recv[barePhase].id, b.s.m.Drops())
	}
}

func TestBoundIDsAreLimited(t *testing.T) {
	b := newBare(t)
	for id := range uint32(2 * maxBound) {
		b.receive(b.sealed, b.bindPacket(1000+id, 0, appendBindTLVs(nil, 0, false)))
	}
	if n := len(b.ep.User.bound); n != maxBound {
		t.Errorf("%d ids kept for one set of keys, want at most %d", n, maxBound)
	}
}

func TestHandshakeMessagesAreLimited(t *testing.T) {
	b := newBare(t)
	init := plain(packet.KindSess, 0, append(appendMessageHeader(nil, msgInit), make([]byte, 90)...))
	for range 100 {
		b.receive(b.sealed, init)
	}
	if n, busy := len(b.s.m.shaker.jobs), b.s.m.Drops()["handshake_busy"]; n != 8 || busy != 92 {
		t.Errorf("%d queued and %d refused on one label, want 8 and 92", n, busy)
	}
	for range 100 { // other labels of the same link
		r := &route{s: b.s, egress: new(forward.Egress)}
		b.receive(r, init)
	}
	if n := len(b.s.m.shaker.jobs); n != 64 {
		t.Errorf("%d queued for one link, want 64", n)
	}
}

func TestRouteErrorsAreHints(t *testing.T) {
	tests := []struct {
		code    uint8
		doubted bool
		hinted  int32
	}{
		{forward.CodeTooBig, false, 1300},
		{forward.CodeNoLabel, true, 0},
		{forward.CodeLinkDown, true, 0},
		{forward.CodeLimit, false, 0}, // a rate limit: TCP notices
		{200, false, 0},
	}
	for _, tt := range tests {
		b := newBare(t)
		b.sealed.RouteError(tt.code, 1300)
		if d, h := b.sealed.doubted.Load(), b.sealed.hinted.Load(); d != tt.doubted || h != tt.hinted {
			t.Errorf("code %d: doubted %v, hinted %d; want %v, %d", tt.code, d, h, tt.doubted, tt.hinted)
		}
		if len(b.s.m.kick) != 1 {
			t.Errorf("code %d: the ticker was not woken", tt.code)
		}
	}
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	b := newBare(t)
	b.up.quiet = true
	const n = 44
	var fresh [n][]byte
	for i := range fresh {
		fresh[i] = b.sealAt(packet.KindData, append([]byte{packet.ProtoTCP}, make([]byte, 1300)...), 0)
	}
	b.receive(b.sealed, b.seal(packet.KindData, []byte("\x01first"))) // makes the window
	var nonce noise.Nonce
	burst := new(link.Burst)
	allocs := testing.AllocsPerRun(10, func() {
		for range 100 {
			burst.N = copy(burst.Pkt[:], fresh[:])
			for _, pkt := range fresh {
				counter, _ := b.send.counter.Reserve(1)
				binary.BigEndian.PutUint64(pkt[8:], counter)
				text := pkt[16 : 16+1301]
				text[0] = packet.ProtoTCP
				b.send.epoch.Send.Seal(text[:0], text, pkt[4:8], &nonce, b.send.id, counter)
			}
			b.sealed.Receive(burst, 0, burst.N, nil)
		}
	})
	if raceEnabled {
		t.Skip("sync.Pool drops items at random under the race detector")
	}
	if allocs != 0 {
		t.Errorf("%v allocations per 100 bursts, want 0", allocs)
	}
	if d := b.s.m.Drops(); len(d) != 0 {
		t.Errorf("drops %v: the guard measured nothing", d)
	}
}

// FuzzReceive puts arbitrary bytes into both kinds of route, and arbitrary payloads
// under valid seals.
func FuzzReceive(f *testing.F) {
	b := newBare(f)
	f.Add(b.seal(packet.KindData, []byte("\x01tcp")), []byte("\x01tcp"))
	f.Add(plain(packet.KindProbe, 0, make([]byte, 8)), []byte("\x04\x00\x00\x00\x07\x00\x00\x00\x08\x02frag"))
	f.Add(plain(packet.KindReply, 0, make([]byte, replyLen)), []byte{packet.ProtoControl, 8, 0, 2, 5, 0})
	f.Add(b.bindPacket(5, 0, appendBindTLVs(nil, 1, true)), appendBindTLVs(nil, 77, true))
	f.Add(plain(packet.KindSess, 0, append(appendMessageHeader(nil, msgInit), make([]byte, 90)...)), []byte{})
	f.Add(plain(packet.KindClose, 0, []byte{2}), []byte{})
	mux := func(seq byte) []byte {
		return append([]byte{packet.ProtoMux, 0, 0, 0, seq, packet.ProtoTCP}, "data"...)
	}
	f.Add(plain(packet.KindData, 0, mux(5)), mux(7))
	report := make([]byte, muxReportLen)
	muxReport{seq: 5, at: time.Hour}.put(report)
	f.Add(plain(packet.KindData, 0, report), report)
	f.Fuzz(func(t *testing.T, pkt, payload []byte) {
		if len(payload) > 2000 {
			return
		}
		b := newBare(t)
		b.up.quiet = true
		b.sealed.spec.TTL = time.Minute   // so that it can be closed
		if n := len(pkt) &^ 15; n >= 16 { // what links vouch for
			b.receive(b.sealed, bytes.Clone(pkt[:n]))
			b.receive(b.direct, bytes.Clone(pkt[:n]))
		}
		for _, k := range []packet.Kind{packet.KindData, packet.KindProbe, packet.KindReply} {
			b.receive(b.sealed, b.seal(k, payload))
		}
		b.receive(b.sealed, b.bindPacket(50, 0, payload))
	})
}
