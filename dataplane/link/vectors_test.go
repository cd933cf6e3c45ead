package link

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// hexBytes is a byte string written as hex digits in JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// handshakeVector is one link handshake; of pairs, the initiator's comes first.
type handshakeVector struct {
	Carrier              Type `json:"-"`
	Timestamp            uint64
	Largest              int
	Direct               [2]packet.Label
	Index                [2]uint32
	Payload              [2]hexBytes
	Initiation, Response hexBytes
	Keys                 [2]hexBytes
}

type linkVectors struct {
	Secret struct {
		Initiator, Responder hexBytes
		InitiatorEphemeral   hexBytes `json:"initiator_ephemeral"`
		ResponderEphemeral   hexBytes `json:"responder_ephemeral"`
	}
	SUDPH struct {
		handshakeVector
		Cookie struct{ Reply, Initiation hexBytes }
		Data   []struct {
			From          int
			Index         uint32
			Counter       uint64
			Packet, Frame hexBytes
		}
	}
	STCPR struct {
		handshakeVector
		Records []struct {
			From    int
			Counter uint64
			Packets []hexBytes
			Record  hexBytes
		}
	}
	Control []struct {
		Name         string
		Kind         packet.Kind
		Body, Packet hexBytes
	}
}

// vectors reads docs/wire-vectors.json, which docs/wire-vectors.py computes and this
// code never.
func vectors(t testing.TB) (v linkVectors) {
	t.Helper()
	text, err := os.ReadFile("../../docs/wire-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	v.SUDPH.Carrier, v.STCPR.Carrier = SUDPH, STCPR
	return v
}

func staticKey(t testing.TB, secret []byte) *cipher.StaticKey {
	t.Helper()
	k, err := cipher.NewStaticKey(cipher.SecKey(secret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// vectorHandshake runs v through our own code, from both ends, and returns each
// end's keys.
func vectorHandshake(t *testing.T, f *linkVectors, v *handshakeVector) (i, r noise.Keys) {
	t.Helper()
	si, sr := staticKey(t, f.Secret.Initiator), staticKey(t, f.Secret.Responder)
	offers := [2]offer{
		{timestamp: v.Timestamp, maxPacket: v.Largest, direct: v.Direct[0]},
		{maxPacket: v.Largest, direct: v.Direct[1]},
	}
	for n, o := range offers {
		if got := o.append(nil); !bytes.Equal(got, v.Payload[n]) {
			t.Errorf("payload %d = %x, want %x", n+1, got, v.Payload[n])
		}
	}
	ours, msg, err := newInitiationFrom(bytes.NewReader(f.Secret.InitiatorEphemeral), si, sr.PubKey(), v.Carrier, v.Index[0], offers[0])
	if err != nil {
		t.Fatal(err)
	}
	addMACs(t, noise.NewCookieJar(sr.PubKey()), msg)
	if !bytes.Equal(msg, v.Initiation) {
		t.Fatalf("initiation = %x, want %x", msg, v.Initiation)
	}
	if !noise.NewCookieChecker(sr.PubKey()).CheckMAC1(v.Initiation) {
		t.Error("mac1 of the initiation is wrong")
	}
	theirs, err := readInitiationWith(bytes.NewReader(f.Secret.ResponderEphemeral), sr, v.Carrier, v.Initiation)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.peer != si.PubKey() || theirs.remote != v.Index[0] || theirs.offer != offers[0] {
		t.Errorf("initiation read as %v, index %x, %+v", theirs.peer, theirs.remote, theirs.offer)
	}
	msg, r, err = theirs.answer(v.Index[1], offers[1])
	if err != nil {
		t.Fatal(err)
	}
	addMACs(t, noise.NewCookieJar(si.PubKey()), msg)
	if !bytes.Equal(msg, v.Response) {
		t.Fatalf("response = %x, want %x", msg, v.Response)
	}
	i, o, err := ours.finish(v.Response)
	if err != nil || o != offers[1] {
		t.Fatalf("response read as %+v, %v", o, err)
	}
	if i != r.Swapped() || !bytes.Equal(i.Send[:], v.Keys[0]) || !bytes.Equal(i.Recv[:], v.Keys[1]) {
		t.Errorf("keys = %x, %x, want %x, %x", i.Send, i.Recv, v.Keys[0], v.Keys[1])
	}
	return i, r
}

func addMACs(t *testing.T, jar *noise.CookieJar, msg []byte) {
	t.Helper()
	if err := jar.AddMACs(msg, 0); err != nil {
		t.Fatal(err)
	}
}

func TestWireVectorsUDP(t *testing.T) {
	f := vectors(t)
	v := &f.SUDPH
	i, r := vectorHandshake(t, &f, &v.handshakeVector)
	if len(v.Data) == 0 {
		t.Fatal("no data frames")
	}
	ends := [2]noise.Keys{i, r}
	for n, d := range v.Data {
		var nonce noise.Nonce
		frame := make([]byte, packet.FrameHeaderLen, len(d.Frame))
		packet.PutDataHeader(frame, d.Index, d.Counter)
		frame = noise.NewSendKey(ends[d.From].Send).Seal(frame, d.Packet, frame[:packet.FrameHeaderLen], &nonce, 0, d.Counter)
		if !bytes.Equal(frame, d.Frame) {
			t.Errorf("frame %d = %x, want %x", n, frame, d.Frame)
		}
		k := newRxKey(nil, ends[1-d.From], d.Index, 0, offer{})
		pkt, why := k.open(&nonce, frame, d.Counter)
		if !bytes.Equal(pkt, d.Packet) {
			t.Errorf("frame %d opens to %x (%v), want %x", n, pkt, why, d.Packet)
		}
		if _, why := k.open(&nonce, bytes.Clone(d.Frame), d.Counter); why != DropReplay {
			t.Errorf("frame %d again: %v, want %v", n, why, DropReplay)
		}
	}
}

// TestWireVectorsCookie takes the reply to the initiation of the vectors and sends
// that again.
func TestWireVectorsCookie(t *testing.T) {
	f := vectors(t)
	v := &f.SUDPH
	jar := noise.NewCookieJar(staticKey(t, f.Secret.Responder).PubKey())
	msg := bytes.Clone(v.Initiation)
	addMACs(t, jar, msg)
	if err := jar.ConsumeReply(v.Cookie.Reply[packet.CookieHeaderLen:], 0); err != nil {
		t.Fatal(err)
	}
	addMACs(t, jar, msg)
	if !bytes.Equal(msg, v.Cookie.Initiation) {
		t.Errorf("initiation with cookie = %x, want %x", msg, v.Cookie.Initiation)
	}
	if hasMAC2(v.Initiation) || !hasMAC2(msg) {
		t.Error("hasMAC2 is wrong")
	}
}

func TestWireVectorsStream(t *testing.T) {
	f := vectors(t)
	v := &f.STCPR
	i, r := vectorHandshake(t, &f, &v.handshakeVector)
	ends := [2]noise.Keys{i, r}
	if len(v.Records) == 0 {
		t.Fatal("no records")
	}
	for n, rec := range v.Records {
		var nonce noise.Nonce
		var text []byte
		for _, p := range rec.Packets {
			text = append(binary.BigEndian.AppendUint16(text, uint16(len(p))), p...)
		}
		got := binary.BigEndian.AppendUint32(nil, uint32(len(text)+packet.TagLen))
		got = noise.NewSendKey(ends[rec.From].Send).Seal(got, text, got[:recordHeaderLen], &nonce, 0, rec.Counter)
		if !bytes.Equal(got, rec.Record) {
			t.Errorf("record %d = %x, want %x", n, got, rec.Record)
		}
	}
}

// TestWireVectorsControl checks what leaves as link control; that it parses is for
// package packet and for TestControl.
func TestWireVectorsControl(t *testing.T) {
	f := vectors(t)
	if len(f.Control) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range f.Control {
		pkt := bytes.Repeat([]byte{0xEE}, packet.Padded(len(v.Body)))
		putControl(pkt, v.Kind, v.Body)
		if !bytes.Equal(pkt, v.Packet) || !isControl(pkt) {
			t.Errorf("%s = %x, want %x", v.Name, pkt, v.Packet)
		}
	}
}
