package link

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
	"github.com/skyminer/skywire/dataplane/udpio"
)

// FuzzParseOffer is a neighbour with a right key and any payload: what parses is the
// same after it has been written and parsed again.
func FuzzParseOffer(f *testing.F) {
	v := vectors(f)
	f.Add([]byte(v.SUDPH.Payload[0]))
	f.Add([]byte(v.SUDPH.Payload[1]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err != nil {
			return
		}
		if o.maxPacket < packet.MinMTU || o.maxPacket > packet.MaxRoutePacket {
			t.Fatalf("largest packet %d", o.maxPacket)
		}
		again, err := parseOffer(o.append(nil))
		if err != nil || again != o {
			t.Fatalf("%+v became %+v, %v", o, again, err)
		}
	})
}

// FuzzReadInitiation is a stranger's message with a right frame (raw), or an
// authentic message with any payload.
func FuzzReadInitiation(f *testing.F) {
	v := vectors(f)
	static := staticKey(f, v.Secret.Responder)
	other := staticKey(f, v.Secret.Initiator)
	body := v.SUDPH.Initiation[packet.HandshakeHeaderLen : len(v.SUDPH.Initiation)-packet.MACsLen]
	f.Add([]byte(body), true)
	f.Add([]byte(v.SUDPH.Payload[0]), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, raw bool) {
		msg := packet.HandshakeHeader{Type: packet.FrameInitiation, Sender: 1}.Append(nil)
		if raw {
			msg = append(msg, b...)
		} else {
			hs, err := noise.NewHandshake(noise.Config{
				Pattern: noise.IK, Initiator: true, Prologue: prologue(SUDPH), Static: other, Peer: static.PubKey(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if msg, err = hs.WriteMessage(msg, b); err != nil {
				return // too long
			}
		}
		msg = append(msg, make([]byte, packet.MACsLen)...)
		r, err := readInitiation(static, SUDPH, msg)
		if err != nil {
			return
		}
		if r.peer != other.PubKey() {
			t.Fatalf("a message from %v", r.peer)
		}
		if want, err := parseOffer(b); !raw && (err != nil || want != r.offer) {
			t.Fatalf("offer %+v, want %+v, %v", r.offer, want, err)
		}
	})
}

// FuzzControl is a neighbour that sends any label 0 packet.
func FuzzControl(f *testing.F) {
	for _, v := range vectors(f).Control {
		f.Add([]byte(v.Packet))
	}
	b := newByHand(f)
	f.Fuzz(func(t *testing.T, pkt []byte) {
		n := len(pkt) &^ (packet.RouteAlign - 1) // all that a worker lets through
		if n == 0 {
			return
		}
		pkt = append(make([]byte, 4), pkt[4:n]...)
		before := bytes.Clone(pkt)
		b.in.control(pkt, b.from, b.Now())
		if !bytes.Equal(pkt, before) {
			t.Fatal("a borrowed packet was changed")
		}
		if got := b.in.MTU(); got < packet.MinMTU || got > maxUDPPacket || got%packet.RouteAlign != 0 {
			t.Fatalf("MTU %d", got)
		}
	})
}

// FuzzSuperpacket puts any bytes, cut anywhere, and authentic frames among them, in
// front of a worker. Authentic packets go on exactly once.
func FuzzSuperpacket(f *testing.F) {
	v := vectors(f)
	f.Add([]byte(v.SUDPH.Initiation), uint16(0), uint8(0))
	f.Add([]byte(v.SUDPH.Data[0].Frame), uint16(64), uint8(3))
	f.Add(bytes.Repeat([]byte{0x50}, 300), uint16(7), uint8(2))
	f.Add(bytes.Repeat([]byte{0x50, 0, 0, 0}, 300), uint16(48), uint8(40))
	f.Add(bytes.Repeat([]byte{0x53, 1, 0, 0}, 16), uint16(64), uint8(1))
	b := newByHand(f)
	w := b.workers[0]
	buf := make([]byte, 1<<17)
	f.Fuzz(func(t *testing.T, data []byte, seg uint16, authentic uint8) {
		size := int(seg)
		if size < packet.FrameOverhead+packet.RouteAlign {
			size = packet.FrameOverhead + packet.RouteAlign
		}
		size &^= packet.RouteAlign - 1
		n := min(int(authentic)%64, (1<<16)/size)
		good := b.superpacket(buf, n, size-packet.FrameOverhead)
		p := udpio.Superpacket{Data: append(good.Data, data...), Seg: size, From: b.from}
		if authentic >= 128 { // out of step: whatever opens is luck
			p.Data = append(bytes.Clone(data), good.Data...)
			p.Seg = int(seg)%len(append(p.Data, 0)) + 1
		}
		if len(p.Data) == 0 || len(p.Data) > udpio.MaxSuperpacket {
			return
		}
		p.Seg = min(p.Seg, len(p.Data))
		before := b.hop.n
		w.superpacket(&p, b.Now(), true)
		_ = w.tx.out.Flush()
		_ = w.hints.Flush()
		w.passStrays(b.Now())
		if got := b.hop.n - before; authentic < 128 && got < n || got > n {
			t.Fatalf("%d of %d authentic packets went on", got, n)
		}
		for len(b.shake.queue) > 0 {
			m := <-b.shake.queue
			m.buf.Free()
		}
	})
}

// TestControl sends every control message of the vectors to a link and looks at what
// comes of it; what makes no sense is counted.
func TestControl(t *testing.T) {
	b := newByHand(t)
	sent := func() uint64 { return b.in.txPackets.Load() }
	put := func(kind packet.Kind, flags uint8, body []byte) []byte {
		pkt := make([]byte, packet.Padded(len(body)))
		packet.RouteHeader{Kind: kind, Flags: flags, Length: uint16(len(body))}.Put(pkt)
		copy(pkt[packet.RouteHeaderLen:], body)
		return pkt
	}
	eight := binary.BigEndian.AppendUint64(nil, 99)
	probe := make([]byte, 1248-packet.RouteHeaderLen)
	binary.BigEndian.PutUint16(probe, 1248)
	for _, tt := range []struct {
		name    string
		pkt     []byte
		answers uint64
		bad     bool
	}{
		{"probe", put(packet.KindProbe, 0, eight), 1, false},
		{"challenge", put(packet.KindPathChallenge, 0, eight), 1, false},
		{"MTU probe", put(packet.KindMTUProbe, 0, probe), 1, false},
		{"late reply", put(packet.KindReply, 0, eight), 0, false},
		{"echo that nobody asked for", put(packet.KindPathEcho, 0, eight), 0, false},
		{"route error", put(packet.KindError, 0, eight[:8]), 0, false},
		{"short probe", put(packet.KindProbe, 0, eight[:7]), 0, true},
		{"long reply", put(packet.KindReply, 0, append(eight[:8:8], 0)), 0, true},
		{"MTU probe that lies", put(packet.KindMTUProbe, 0, probe[:100]), 0, true},
		{"MTU probe without size", put(packet.KindMTUProbe, 0, probe[:1]), 0, true},
		{"empty close", put(packet.KindClose, 0, nil), 0, true},
		{"flags", put(packet.KindProbe, 1, eight), 0, true},
		{"data", put(packet.KindData, 0, eight), 0, true},
		{"rekey on UDP", put(packet.KindRekey, 0, eight), 0, true},
		{"unknown kind", put(0x7f, 0, eight), 0, true},
		{"too much padding", append(put(packet.KindProbe, 0, eight), make([]byte, 16)...), 0, true},
	} {
		before, drops := sent(), b.Drops()["control"]
		b.in.control(tt.pkt, b.from, b.Now())
		if got := sent() - before; got != tt.answers {
			t.Errorf("%s: %d answers, want %d", tt.name, got, tt.answers)
		}
		if bad := b.Drops()["control"] > drops; bad != tt.bad {
			t.Errorf("%s: counted as bad: %v, want %v", tt.name, bad, tt.bad)
		}
	}
	if len(b.errs) != 1 {
		t.Errorf("%d route errors heard, want 1", len(b.errs))
	}
}

// TestStrays passes frames of one worker's link through another's socket.
func TestStrays(t *testing.T) {
	h := newSink()
	n := startNode(t, h, h, func(c *Config) { c.Workers = 2 })
	if n.udp.Len() < 2 {
		if os.Getenv("CI") == "true" {
			t.Fatal("one socket for two workers: this system cannot share an address out")
		}
		t.Skip("one socket: there are no strays")
	}
	b := &byHand{Engine: n.Engine, from: netip.MustParseAddrPort("127.0.0.1:9")}
	l, err := n.link(staticKey(t, bytesOf(1, 32)).PubKey(), SUDPH, false, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	owner := n.workerFor(l)
	index, err := n.indices.take(owner)
	if err != nil {
		t.Fatal(err)
	}
	keys := noise.Keys{Recv: [32]byte{1}}
	k := newRxKey(l, keys, index, 1, offer{maxPacket: packet.MinMTU})
	k.confirmed = true
	n.keys.Store(indexSlot(index), k)
	b.index, b.send = index, noise.NewSendKey(keys.Recv)

	p := b.superpacket(make([]byte, 1<<14), 7, 64)
	p.Data = bytes.Clone(p.Data)
	w := n.workers[1-owner]
	w.mu.Lock()
	w.superpacket(&p, n.Now(), true)
	w.mu.Unlock()
	strays := w.strays
	w.strays = nil
	other := &worker{e: n.Engine, strays: strays} // run owns w's list
	other.passStrays(n.Now())
	if got := h.wait(t, 7); len(got) != 7 {
		t.Errorf("%d packets, want 7", len(got))
	}
}
