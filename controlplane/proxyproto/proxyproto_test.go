package proxyproto

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const v2 = signature2
	ten, eleven := strings.Repeat("\x00", 10), strings.Repeat("\x00", 11)
	tests := []struct {
		name, in string
		want     string // address and port, "" for none
		err      error
	}{
		// Examples of doc/proxy-protocol.txt, section 2.1.
		{"v1 IPv4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", nil},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "[2001:db8::1]:1", nil},
		{"v1 IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1:1", nil},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", nil},
		{"v1 unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "", nil},
		{"v1 wrong family", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "", ErrHeader},
		{"v1 other family", "PROXY TCP4 ::1 ::1 1 2\r\n", "", ErrHeader},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "", ErrHeader},
		{"v1 no address", "PROXY TCP4 x y 1 2\r\n", "", ErrHeader},
		{"v1 no port", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", "", ErrHeader},
		{"v1 words missing", "PROXY TCP4 192.0.2.1\r\n", "", ErrHeader},
		{"v1 too long", "PROXY TCP4 " + strings.Repeat("1", 200), "", ErrHeader},
		{"v1 no end", "PROXY TCP4 192.0.2.1 192.0.2.2 1", "", io.EOF},
		{"v2 IPv4", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00\x02", "192.0.2.1:56324", nil},
		{"v2 IPv4 with extensions", v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02\x04\x00\x01x", "192.0.2.1:1", nil},
		{"v2 IPv6", v2 + "\x21\x21\x00\x24\x20\x01\x0d\xb8" + eleven + "\x01" + strings.Repeat("\x00", 16) + "\x00\x07\x00\x00", "[2001:db8::1]:7", nil},
		{"v2 IPv4 in IPv6", v2 + "\x21\x21\x00\x24" + ten + "\xff\xff\xc0\x00\x02\x01" + strings.Repeat("\x00", 20), "192.0.2.1:0", nil},
		{"v2 health check", v2 + "\x20\x00\x00\x00", "", nil},
		{"v2 unspecified", v2 + "\x21\x00\x00\x00", "", nil},
		{"v2 unix", v2 + "\x21\x31\x00\x01x", "", nil},
		{"v2 UDP", v2 + "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02", "", ErrHeader},
		{"v2 short", v2 + "\x21\x11\x00\x04abcd", "", ErrHeader},
		{"v2 short IPv6", v2 + "\x21\x21\x00\x0cabcdefghijkl", "", ErrHeader},
		{"v2 version 3", v2 + "\x31\x11\x00\x00", "", ErrHeader},
		{"v2 command 2", v2 + "\x22\x11\x00\x00", "", ErrHeader},
		{"v2 huge", v2 + "\x21\x11\xff\xff", "", ErrHeader},
		{"v2 cut off", v2 + "\x21\x11\x00\x0c\xc0", "", io.ErrUnexpectedEOF},
		{"none", "a session handshake", "", ErrHeader},
		{"nothing", "", "", io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const behind = "behind"
			in := strings.NewReader(tt.in + behind)
			if errors.Is(tt.err, io.EOF) || errors.Is(tt.err, io.ErrUnexpectedEOF) {
				in = strings.NewReader(tt.in)
			}
			from, err := Read(in)
			got := ""
			if from.IsValid() {
				got = from.String()
			}
			if !errors.Is(err, tt.err) || err != nil && !errors.Is(err, ErrHeader) || got != tt.want {
				t.Fatalf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
			if rest, _ := io.ReadAll(in); tt.err == nil && string(rest) != behind {
				t.Errorf("left %q, want %q", rest, behind)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nrest")
	f.Add("PROXY UNKNOWN\r\n")
	f.Add(signature2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02")
	f.Fuzz(func(t *testing.T, in string) {
		r := strings.NewReader(in)
		from, err := Read(r)
		taken := len(in) - r.Len()
		switch {
		case err != nil && (from.IsValid() || !errors.Is(err, ErrHeader)):
			t.Errorf("%v beside the error %v", from, err)
		case taken > shortest+4+max2:
			t.Errorf("takes %d bytes", taken)
		case from.IsValid() && (from.Addr().Is4In6() || from.Addr().Zone() != ""):
			t.Errorf("%v is in two forms", from)
		}
		if err != nil {
			return
		}
		for i := range taken { // what is short of a header is never taken for one
			if _, err := Read(strings.NewReader(in[:i])); err == nil {
				t.Fatalf("%d of %d bytes suffice", i, taken)
			}
		}
	})
}
