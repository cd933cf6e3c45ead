package session

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type messageVector struct{ TLVs, Body, Packet hexBytes }

// sessionVectors is the part of docs/wire-vectors.json about sessions, which
// docs/wire-vectors.py computes and this code never. From is 0 for the initiator.
type sessionVectors struct {
	Secret struct {
		Initiator, Responder hexBytes
		InitiatorEphemeral   hexBytes `json:"initiator_ephemeral"`
		ResponderEphemeral   hexBytes `json:"responder_ephemeral"`
	}
	Session struct {
		Prologue       hexBytes
		PrologueClass7 hexBytes  `json:"prologue_class_7"`
		RouteIDs       [2]uint32 `json:"route_ids"`
		Phase          uint8
		Timestamp      uint64
		InUse          uint8 `json:"phases_in_use"`
		Init           messageVector
		Response       messageVector
		Keys           [2]hexBytes
		Bind           struct {
			messageVector
			RouteID uint32 `json:"route_id"`
			Counter uint64
			Bound   uint32
		}
		Sealed []struct {
			Name                  string
			From                  int
			Kind                  packet.Kind
			RouteID               uint32 `json:"route_id"`
			Counter               uint64
			Payload, Body, Packet hexBytes
		}
		Mux struct {
			Number          uint32
			Inside, Payload hexBytes
		}
		MuxReport struct {
			Number         uint32
			HeldUs         uint64 `json:"held_us"`
			AtUs           uint64 `json:"at_us"`
			Packets, Bytes uint64
			Payload        hexBytes
		} `json:"mux_report"`
		Fragments struct {
			ID      uint32
			Payload hexBytes
			Pieces  []hexBytes
		}
	}
}

func readVectors(t *testing.T) (v sessionVectors) {
	t.Helper()
	text, err := os.ReadFile("../../docs/wire-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Session.Sealed) == 0 || len(v.Session.Fragments.Pieces) == 0 {
		t.Fatal("no session vectors in the file")
	}
	return v
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %x\nwant %x", what, got, want)
	}
}

// TestHandshakeVectors runs the KK handshake of the vectors from both ends.
func TestHandshakeVectors(t *testing.T) {
	v := readVectors(t)
	s := &v.Session
	same(t, "prologue", prologue(0), s.Prologue)
	same(t, "prologue of class 7", prologue(7), s.PrologueClass7)
	key := func(secret []byte) *cipher.StaticKey {
		k, err := cipher.NewStaticKey(cipher.SecKey(secret))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ki, kr := key(v.Secret.Initiator), key(v.Secret.Responder)
	side := func(initiator bool, own, peer *cipher.StaticKey, ephemeral []byte) *noise.Handshake {
		hs, err := noise.NewHandshake(noise.Config{
			Pattern: noise.KK, Initiator: initiator, Prologue: prologue(0),
			Static: own, Peer: peer.PubKey(), Rand: bytes.NewReader(ephemeral),
		})
		if err != nil {
			t.Fatal(err)
		}
		return hs
	}
	i := side(true, ki, kr, v.Secret.InitiatorEphemeral)
	r := side(false, kr, ki, v.Secret.ResponderEphemeral)
	// step writes a message on one side and reads it on the other.
	step := func(what string, typ uint8, from, to *noise.Handshake, tlvs []byte, want messageVector) hello {
		same(t, what+" TLVs", tlvs, want.TLVs)
		body, err := from.WriteMessage(appendMessageHeader(nil, typ), tlvs)
		if err != nil {
			t.Fatal(err)
		}
		same(t, what, body, want.Body)
		h, parsed, ok := packet.ParseRoute(want.Packet)
		if !ok || h.Kind != packet.KindSess || h.Flags != 0 {
			t.Fatalf("%s: packet does not parse: %+v", what, h)
		}
		got, msg, ok := parseMessage(parsed)
		if !ok || got != typ {
			t.Fatalf("%s: type %d, %v", what, got, ok)
		}
		payload, err := to.ReadMessage(nil, msg)
		if err != nil {
			t.Fatal(err)
		}
		hi, err := parseHello(payload)
		if err != nil {
			t.Fatal(err)
		}
		return hi
	}
	h := step("initiation", msgInit, i, r, appendInitTLVs(nil, s.Timestamp, s.RouteIDs[0], s.InUse), s.Init)
	if want := (hello{timestamp: s.Timestamp, route: s.RouteIDs[0], inUse: s.InUse}); h != want {
		t.Errorf("initiation says %+v, want %+v", h, want)
	}
	h = step("response", msgResponse, r, i, appendResponseTLVs(nil, s.RouteIDs[1], s.Phase), s.Response)
	if want := (hello{route: s.RouteIDs[1], phase: s.Phase}); h != want {
		t.Errorf("response says %+v, want %+v", h, want)
	}
	ours, err := i.Keys()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := r.Keys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []noise.Keys{ours, theirs.Swapped()} {
		same(t, "initiator's key", k.Send[:], s.Keys[0])
		same(t, "responder's key", k.Recv[:], s.Keys[1])
	}
}

// vectorEpoch returns the keys of the vectors as the sender numbered from has them,
// and as its peer has.
func (v *sessionVectors) vectorEpoch(from int) (sender, receiver *epoch) {
	s := &v.Session
	k := noise.Keys{Send: [32]byte(s.Keys[from]), Recv: [32]byte(s.Keys[1-from])}
	phase := uint32(s.Phase)
	return noise.NewEpoch(k, phase, phase, epochState{}), noise.NewEpoch(k.Swapped(), phase, phase, epochState{})
}

func TestSealedVectors(t *testing.T) {
	v := readVectors(t)
	for _, tt := range v.Session.Sealed {
		t.Run(tt.Name, func(t *testing.T) {
			sender, receiver := v.vectorEpoch(tt.From)
			h, body, ok := packet.ParseRoute(tt.Packet)
			if !ok || h.Kind != tt.Kind || h.Flags != v.Session.Phase {
				t.Fatalf("packet does not parse as expected: %+v", h)
			}
			same(t, "body", body, tt.Body)
			e := encoder{
				label: h.Label, seal: &sendState{epoch: sender, id: tt.RouteID}, counter: tt.Counter,
				nonce: new(noise.Nonce), n: len(tt.Payload), pkt: bytes.Repeat([]byte{0xee}, len(tt.Packet)),
			}
			copy(e.pkt[packet.RouteHeaderLen+8:], tt.Payload)
			e.end(tt.Kind)
			same(t, "packet", e.pkt, tt.Packet)
			rs := recvState{epoch: receiver, id: tt.RouteID}
			payload, why, ok := rs.open(body, tt.Packet[4:8], new(noise.Nonce))
			if !ok {
				t.Fatalf("does not open: %v", why)
			}
			same(t, "payload", payload, tt.Payload)
			if tt.Kind != packet.KindReply {
				return
			}
			rep, ok := parseReply(payload)
			if !ok {
				t.Fatal("reply does not parse")
			}
			again := make([]byte, replyLen)
			rep.put(again)
			same(t, "reply", again, tt.Payload)
		})
	}
}

func TestBindVector(t *testing.T) {
	v := readVectors(t)
	b := &v.Session.Bind
	sender, receiver := v.vectorEpoch(0)
	tlvs := appendBindTLVs(nil, b.Bound, false)
	same(t, "TLVs", tlvs, b.TLVs)
	body := appendMessageHeader(nil, msgBind)
	body = binary.BigEndian.AppendUint32(body, b.RouteID)
	body = binary.BigEndian.AppendUint64(body, b.Counter)
	body = sender.Send.Seal(body, tlvs, body[:bindADLen], new(noise.Nonce), b.RouteID, b.Counter)
	same(t, "bind", body, b.Body)
	rs := recvState{epoch: receiver, id: b.RouteID}
	payload, why, ok := rs.open(body[bindADLen:], body[:bindADLen], new(noise.Nonce))
	if !ok {
		t.Fatalf("does not open: %v", why)
	}
	if h, err := parseHello(payload); err != nil || h.bound != b.Bound {
		t.Errorf("says %+v, %v", h, err)
	}
}

func TestFragmentVectors(t *testing.T) {
	v := readVectors(t)
	fs := &v.Session.Fragments
	b := newBare(t)
	at := 0
	for i, p := range fs.Pieces {
		f, ok := parseFragment(p[1:])
		if !ok || p[0] != packet.ProtoFragment || f.id != fs.ID || int(f.offset) != at || int(f.total) != len(fs.Payload) {
			t.Fatalf("piece %d parses as %+v, %v", i, f, ok)
		}
		again := append([]byte{packet.ProtoFragment}, make([]byte, fragHeaderLen)...)
		f.putHeader(again[1:])
		same(t, "piece", append(again, fs.Payload[at:at+len(f.piece)]...), p)
		at += len(f.piece)
		b.receive(b.direct, plain(packet.KindData, 0, p))
	}
	if len(b.up.got) != 1 {
		t.Fatalf("%d payloads came out of the pieces, want 1", len(b.up.got))
	}
	same(t, "payload", b.up.got[0], fs.Payload)
}

func TestMuxVectors(t *testing.T) {
	v := readVectors(t).Session
	seq, inner, ok := parseMux(v.Mux.Payload)
	if !ok || seq != v.Mux.Number || !bytes.Equal(inner, v.Mux.Inside) {
		t.Errorf("mux payload is %d, %x, %v", seq, inner, ok)
	}
	want := muxReport{
		seq: v.MuxReport.Number, packets: v.MuxReport.Packets, bytes: v.MuxReport.Bytes,
		held: time.Duration(v.MuxReport.HeldUs) * time.Microsecond, at: time.Duration(v.MuxReport.AtUs) * time.Microsecond,
	}
	if got, ok := parseMuxReport(v.MuxReport.Payload); !ok || got != want {
		t.Errorf("report is %+v, %v, want %+v", got, ok, want)
	}
	b := make([]byte, muxReportLen)
	if want.put(b); !bytes.Equal(b, v.MuxReport.Payload) {
		t.Errorf("report is written as %x, want %x", b, v.MuxReport.Payload)
	}
}
