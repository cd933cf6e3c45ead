package yamux

import (
	"encoding/hex"
	"errors"
	"testing"
)

// The golden bytes were written by hand from the table in the package's law: version
// u8, type u8, flags u16, stream id u32, length u32, big endian.
func TestHeaderGolden(t *testing.T) {
	tests := []struct {
		name string
		h    Header
		want string
	}{
		{"open stream 1", Header{Type: TypeWindowUpdate, Flags: FlagSYN, StreamID: 1}, "000100010000000100000000"},
		{"accept stream 1", Header{Type: TypeWindowUpdate, Flags: FlagACK, StreamID: 1}, "000100020000000100000000"},
		{"64 KiB of data", Header{Type: TypeData, StreamID: 0x01020304, Length: 65536}, "000000000102030400010000"},
		{"end of data", Header{Type: TypeWindowUpdate, Flags: FlagFIN, StreamID: 7}, "000100040000000700000000"},
		{"reset", Header{Type: TypeWindowUpdate, Flags: FlagRST, StreamID: 7}, "000100080000000700000000"},
		{"ping", Header{Type: TypePing, Flags: FlagSYN, Length: 0xdeadbeef}, "0002000100000000deadbeef"},
		{"go away, protocol error", Header{Type: TypeGoAway, Length: uint32(GoAwayProtocolError)}, "000300000000000000000001"},
		{"all flags, all ones", Header{Type: TypeData, Flags: allFlags, StreamID: 1<<32 - 1, Length: 1<<32 - 1}, "0000000fffffffffffffffff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, HeaderLen+1)
			tt.h.Put(b)
			if got := hex.EncodeToString(b[:HeaderLen]); got != tt.want {
				t.Fatalf("Put(%+v) = %s, want %s", tt.h, got, tt.want)
			}
			if got, err := ParseHeader(b); err != nil || got != tt.h {
				t.Fatalf("ParseHeader(%s) = %+v, %v, want %+v", tt.want, got, err, tt.h)
			}
			for n := range HeaderLen {
				if _, err := ParseHeader(b[:n]); !errors.Is(err, ErrShortHeader) {
					t.Errorf("ParseHeader of %d bytes: %v, want ErrShortHeader", n, err)
				}
			}
		})
	}
}

func TestHeaderRefused(t *testing.T) {
	tests := []struct {
		name, raw string
		want      error
	}{
		{"version 1", "010000000000000100000000", ErrVersion},
		{"type 4", "000400000000000100000000", ErrType},
		{"type 255", "00ff00000000000100000000", ErrType},
		{"fifth flag", "000000100000000100000000", ErrFlags},
		{"highest flag", "000080000000000100000000", ErrFlags},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := hex.DecodeString(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			if h, err := ParseHeader(raw); !errors.Is(err, tt.want) {
				t.Errorf("ParseHeader(%s) = %+v, %v, want %v", tt.raw, h, err, tt.want)
			}
		})
	}
}

func TestHeaderAllocs(t *testing.T) {
	b := make([]byte, HeaderLen)
	h := Header{Type: TypeData, StreamID: 3, Length: 4096}
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			h.Put(b)
			h, _ = ParseHeader(b)
		}
	}); n != 0 {
		t.Errorf("%v allocations per 100 headers, want 0", n)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, HeaderLen))
	f.Add([]byte("\x00\x01\x00\x0f\xff\xff\xff\xff\xff\xff\xff\xff more"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ParseHeader(raw)
		if err != nil {
			return
		}
		var b [HeaderLen]byte
		h.Put(b[:])
		if string(b[:]) != string(raw[:HeaderLen]) {
			t.Fatalf("%x parsed as %+v, which is written as %x", raw[:HeaderLen], h, b)
		}
	})
}
