package packet

import (
	"bytes"
	"testing"
)

func TestDataHeader(t *testing.T) {
	b := make([]byte, FrameOverhead+RouteAlign)
	PutDataHeader(b, 0x01020304, 0x05060708090a0b0c)
	want := []byte{0x50, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	if !bytes.Equal(b[:FrameHeaderLen], want) {
		t.Fatalf("PutDataHeader = %x, want %x", b[:FrameHeaderLen], want)
	}
	idx, ctr, ok := ParseDataHeader(b)
	if !ok || idx != 0x01020304 || ctr != 0x05060708090a0b0c {
		t.Fatalf("ParseDataHeader = %x, %x, %v", idx, ctr, ok)
	}
	for n := range FrameOverhead + RouteHeaderLen {
		if _, _, ok := ParseDataHeader(b[:n]); ok {
			t.Errorf("ParseDataHeader accepts %d bytes", n)
		}
	}
	for i := range 4 { // type, flags and reserved bytes are all checked
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, _, ok := ParseDataHeader(c); ok {
			t.Errorf("ParseDataHeader accepts a changed byte %d", i)
		}
	}
}

func TestHandshakeHeader(t *testing.T) {
	tests := []struct {
		name string
		h    HandshakeHeader
		n    int // length of the whole message
		ok   bool
	}{
		{"initiation", HandshakeHeader{FrameInitiation, 0, 7}, 200, true},
		{"initiation with a receiver", HandshakeHeader{FrameInitiation, 1, 7}, 200, false},
		{"initiation too short", HandshakeHeader{FrameInitiation, 0, 7}, HandshakeHeaderLen + MACsLen, false},
		{"initiation too long", HandshakeHeader{FrameInitiation, 0, 7}, MaxHandshakeFrame + 1, false},
		{"response", HandshakeHeader{FrameResponse, 7, 9}, 120, true},
		{"cookie", HandshakeHeader{FrameCookie, 7, 0}, CookieFrameLen, true},
		{"cookie too short", HandshakeHeader{FrameCookie, 7, 0}, CookieFrameLen - 1, false},
		{"unknown index", HandshakeHeader{FrameUnknownIndex, 0, 9}, UnknownIndexFrameLen, true},
		{"unknown type", HandshakeHeader{FrameUnknownIndex + 1, 0, 9}, 64, false},
		{"data is no handshake", HandshakeHeader{FrameData, 0, 9}, 64, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := append(tt.h.Append(nil), make([]byte, tt.n-HandshakeHeaderLen)...)
			got, ok := ParseHandshakeHeader(b)
			if ok != tt.ok || ok && got != tt.h {
				t.Fatalf("ParseHandshakeHeader = %+v, %v, want %+v, %v", got, ok, tt.h, tt.ok)
			}
			if b[1] = 2; tt.ok {
				if _, ok := ParseHandshakeHeader(b); ok {
					t.Error("another version is accepted")
				}
			}
		})
	}
}

func TestRoute(t *testing.T) {
	b := make([]byte, 32)
	h := RouteHeader{Label: 0xa1b2c3d4, Kind: KindData, Flags: 2, Length: 20}
	h.Put(b)
	if want := []byte{0xa1, 0xb2, 0xc3, 0xd4, 1, 2, 0, 20}; !bytes.Equal(b[:8], want) {
		t.Fatalf("Put = %x, want %x", b[:8], want)
	}
	got, body, ok := ParseRoute(b)
	if !ok || got != h || len(body) != 20 || cap(body) != 20 {
		t.Fatalf("ParseRoute = %+v, %d/%d bytes, %v", got, len(body), cap(body), ok)
	}
	for _, bad := range []struct {
		name   string
		size   int
		length uint16
	}{{"not padded", 30, 20}, {"body beyond the end", 32, 25}, {"too much padding", 32, 8}, {"empty", 0, 0}, {"header only", 8, 0}} {
		c := make([]byte, max(bad.size, 8))
		RouteHeader{Label: 1, Kind: KindData, Length: bad.length}.Put(c)
		if _, _, ok := ParseRoute(c[:bad.size]); ok {
			t.Errorf("%s: accepted", bad.name)
		}
	}
	for n := range 100 {
		if p := Padded(n); p%RouteAlign != 0 || p < n+RouteHeaderLen || p >= n+RouteHeaderLen+RouteAlign {
			t.Errorf("Padded(%d) = %d", n, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(HandshakeHeader{FrameCookie, 1, 2}.Append(nil))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, c, ok := ParseDataHeader(b); ok {
			var again [FrameHeaderLen]byte
			PutDataHeader(again[:], r, c)
			if !bytes.Equal(again[:], b[:FrameHeaderLen]) {
				t.Fatalf("data header %x reads back as %x", b[:FrameHeaderLen], again)
			}
		}
		if h, ok := ParseHandshakeHeader(b); ok && !bytes.Equal(h.Append(nil), b[:HandshakeHeaderLen]) {
			t.Fatalf("handshake header %x reads back as %x", b[:HandshakeHeaderLen], h.Append(nil))
		}
		if h, body, ok := ParseRoute(b); ok {
			var again [RouteHeaderLen]byte
			h.Put(again[:])
			if !bytes.Equal(again[:], b[:RouteHeaderLen]) || Padded(len(body)) != len(b) {
				t.Fatalf("route packet %x reads back as %x", b, again)
			}
		}
	})
}
