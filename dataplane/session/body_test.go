package session

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/skyminer/skywire/dataplane/noise"
	"github.com/skyminer/skywire/dataplane/packet"
)

// The bytes were worked out by hand from docs/wire.md sections 5.1, 5.3, 5.4 and 6.
func TestBodiesGolden(t *testing.T) {
	rep := make([]byte, replyLen)
	reply{token: 0x0102030405060708, packets: 9, bytes: 0x0a00, size: 1440}.put(rep)
	frag := make([]byte, fragHeaderLen)
	fragment{id: 0xdeadbeef, offset: 1100, total: 3000}.putHeader(frag)
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"message header", appendMessageHeader(nil, msgBind), "03010000"},
		{"initiation", appendInitTLVs(nil, 0x1122334455667788, 7, 0b101), "010008" + "1122334455667788" + "040004" + "00000007" + "050001" + "05"},
		{"response", appendResponseTLVs(nil, 8, 3), "040004" + "00000008" + "060001" + "03"},
		{"bind", appendBindTLVs(nil, 8, true), "070004" + "00000008" + "0a0000"},
		{"bind, satisfied", appendBindTLVs(nil, 8, false), "070004" + "00000008"},
		{"reply", rep, "0102030405060708" + "0000000000000009" + "0000000000000a00" + "05a0"},
		{"fragment", frag, "deadbeef" + "044c" + "0bb8"},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseHello(t *testing.T) {
	unknown := noise.AppendTLV(nil, 200, []byte("later"))
	tests := []struct {
		name string
		b    []byte
		want hello
		ok   bool
	}{
		{"nothing", nil, hello{}, true},
		{"initiation", appendInitTLVs(nil, 5, 6, 7), hello{timestamp: 5, route: 6, inUse: 7}, true},
		{"unknown is ignored", appendBindTLVs(unknown, 9, true), hello{bound: 9, want: true}, true},
		{"the last counts", appendTLV32(appendTLV32(nil, packet.TLVRouteID, 1), packet.TLVRouteID, 2), hello{route: 2}, true},
		{"wrong length", noise.AppendTLV(nil, packet.TLVTimestamp, make([]byte, 7)), hello{}, false},
		{"phase out of range", noise.AppendTLV(nil, packet.TLVPhase, []byte{4}), hello{}, false},
		{"truncated", appendInitTLVs(nil, 5, 6, 7)[:20], hello{}, false},
	}
	for _, tt := range tests {
		got, err := parseHello(tt.b)
		if (err == nil) != tt.ok || tt.ok && got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestParseMessage(t *testing.T) {
	long := make([]byte, 200)
	at := func(b ...byte) []byte { return append(b, long...) }
	tests := []struct {
		name string
		body []byte
		ok   bool
	}{
		{"initiation", at(1, 1, 0, 0), true},
		{"response", at(2, 1, 0, 0), true},
		{"bind", at(3, 1, 0, 0), true},
		{"unknown type", at(4, 1, 0, 0), false},
		{"no type", at(0, 1, 0, 0), false},
		{"other version", at(1, 2, 0, 0), false},
		{"reserved", at(1, 1, 0, 1), false},
		{"empty", nil, false},
		{"bind too short", at(3, 1, 0, 0)[:bindHeaderLen+noise.TagLen-1], false},
		{"too long", make([]byte, maxMessage+1), false},
	}
	for _, tt := range tests {
		if _, _, ok := parseMessage(tt.body); ok != tt.ok {
			t.Errorf("%s: ok = %v, want %v", tt.name, ok, tt.ok)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add(appendInitTLVs(nil, 1, 2, 3))
	f.Add(appendResponseTLVs(nil, 2, 1))
	f.Add(appendBindTLVs(nil, 2, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			return
		}
		if h.phase > packet.PhaseMask {
			t.Fatalf("phase %d", h.phase)
		}
		again := appendInitTLVs(nil, h.timestamp, h.route, h.inUse)
		again = noise.AppendTLV(again, packet.TLVPhase, []byte{h.phase})
		again = appendBindTLVs(again, h.bound, h.want)
		if h2, err := parseHello(again); err != nil || h2 != h {
			t.Fatalf("%+v became %+v, %v", h, h2, err)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add(make([]byte, replyLen))
	f.Add(make([]byte, replyLen-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseReply(b)
		if !ok {
			return
		}
		again := make([]byte, replyLen)
		if r.put(again); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzParseFragment(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 4, 2, 1, 1, 1})
	f.Add([]byte{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, ok := parseFragment(b)
		if !ok {
			return
		}
		if int(fr.offset)+len(fr.piece) > int(fr.total) || len(fr.piece) == 0 {
			t.Fatalf("%+v reaches beyond its total", fr)
		}
		again := make([]byte, fragHeaderLen)
		if fr.putHeader(again); !bytes.Equal(again, b[:fragHeaderLen]) {
			t.Fatalf("%x became %x", b[:fragHeaderLen], again)
		}
	})
}
