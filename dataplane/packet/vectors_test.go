package packet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// hexBytes is a byte string written as hex digits in JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type routeVector struct {
	Name         string
	Label        Label
	Kind         Kind
	Flags        uint8
	Body, Packet hexBytes
}

// TestWireVectors checks headers against docs/wire-vectors.json, which is computed by
// docs/wire-vectors.py and never by this code.
func TestWireVectors(t *testing.T) {
	text, err := os.ReadFile("../../docs/wire-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Packets, Control []routeVector
		SUDPH            struct {
			Index                [2]uint32
			Initiation, Response hexBytes
			UnknownIndex         hexBytes `json:"unknown_index"`
			Cookie               struct{ Reply hexBytes }
			Data                 []struct {
				Index   uint32
				Counter uint64
				Frame   hexBytes
			}
		}
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Packets) == 0 || len(f.Control) == 0 || len(f.SUDPH.Data) == 0 {
		t.Fatal("vectors are missing")
	}
	for _, v := range append(f.Packets, f.Control...) {
		t.Run(v.Name, func(t *testing.T) { checkRoute(t, v) })
	}
	for i, v := range f.SUDPH.Data {
		receiver, counter, ok := ParseDataHeader(v.Frame)
		if !ok || receiver != v.Index || counter != v.Counter {
			t.Errorf("data frame %d: index %x, counter %d, %v", i, receiver, counter, ok)
		}
		var head [FrameHeaderLen]byte
		PutDataHeader(head[:], v.Index, v.Counter)
		if !bytes.Equal(head[:], v.Frame[:FrameHeaderLen]) {
			t.Errorf("data frame %d: header %x, want %x", i, head, v.Frame[:FrameHeaderLen])
		}
	}
	for _, v := range []struct {
		msg  hexBytes
		want HandshakeHeader
		len  int // of the header, as far as it is ours
	}{
		{f.SUDPH.Initiation, HandshakeHeader{FrameInitiation, 0, f.SUDPH.Index[0]}, HandshakeHeaderLen},
		{f.SUDPH.Response, HandshakeHeader{FrameResponse, f.SUDPH.Index[0], f.SUDPH.Index[1]}, HandshakeHeaderLen},
		{f.SUDPH.Cookie.Reply, HandshakeHeader{FrameCookie, f.SUDPH.Index[0], 0}, CookieHeaderLen},
		{f.SUDPH.UnknownIndex, HandshakeHeader{FrameUnknownIndex, 0, f.SUDPH.Index[1]}, HandshakeHeaderLen},
	} {
		h, ok := ParseHandshakeHeader(v.msg)
		if v.want.Type == FrameCookie {
			h.Sender = 0 // the nonce stands there
		}
		if !ok || h != v.want {
			t.Errorf("type %x: parsed %+v, %v, want %+v", byte(v.want.Type), h, ok, v.want)
		}
		if got := v.want.Append(nil)[:v.len]; !bytes.Equal(got, v.msg[:v.len]) {
			t.Errorf("type %x: header %x, want %x", byte(v.want.Type), got, v.msg[:v.len])
		}
	}
}

func checkRoute(t *testing.T, v routeVector) {
	h, body, ok := ParseRoute(v.Packet)
	if !ok || !bytes.Equal(body, v.Body) {
		t.Fatalf("ParseRoute: %+v, %x, %v", h, body, ok)
	}
	want := RouteHeader{Label: v.Label, Kind: v.Kind, Flags: v.Flags, Length: uint16(len(v.Body))}
	if h != want {
		t.Errorf("header %+v, want %+v", h, want)
	}
	pkt := make([]byte, Padded(len(v.Body)))
	want.Put(pkt)
	copy(pkt[RouteHeaderLen:], v.Body)
	if !bytes.Equal(pkt, v.Packet) {
		t.Errorf("packet %x, want %x", pkt, v.Packet)
	}
}
