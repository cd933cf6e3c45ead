package relay

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParseProxyHeader(t *testing.T) {
	v2 := proxyV2Signature
	tests := []struct {
		name, in string
		want     string // address, "" for none
		err      error
	}{
		// Examples of doc/proxy-protocol.txt, section 2.1.
		{"v1 IPv4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", nil},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 65535 65535\r\n", "2001:db8::1", nil},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", nil},
		{"v1 unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "", nil},
		{"v1 wrong family", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "", errProxyHeader},
		{"v1 words missing", "PROXY TCP4 192.0.2.1\r\n", "", errProxyHeader},
		{"v1 too long", "PROXY TCP4 " + strings.Repeat("1", 200), "", errProxyHeader},
		{"v1 no end", "PROXY TCP4 192.0.2.1 192.0.2.2 1", "", io.EOF},
		{"v2 IPv4", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02", "192.0.2.1", nil},
		{"v2 IPv4 with extensions", v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02\x04\x00\x01x", "192.0.2.1", nil},
		{"v2 IPv6", v2 + "\x21\x21\x00\x24\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 20), "2001:db8::1", nil},
		{"v2 local", v2 + "\x20\x00\x00\x00", "", nil},
		{"v2 unix", v2 + "\x21\x31\x00\x01x", "", nil},
		{"v2 short", v2 + "\x21\x11\x00\x04abcd", "", errProxyHeader},
		{"v2 version 3", v2 + "\x31\x11\x00\x00", "", errProxyHeader},
		{"v2 command 2", v2 + "\x22\x11\x00\x00", "", errProxyHeader},
		{"v2 huge", v2 + "\x21\x11\xff\xff", "", errProxyHeader},
		{"none", "a session handshake", "", errProxyHeader},
		{"nothing", "", "", io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const behind = "behind"
			in := strings.NewReader(tt.in + behind)
			if tt.err == io.EOF {
				in = strings.NewReader(tt.in)
			}
			ip, err := parseProxyHeader(in)
			got := ""
			if ip.IsValid() {
				got = ip.String()
			}
			if !errors.Is(err, tt.err) || got != tt.want {
				t.Fatalf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
			if rest, _ := io.ReadAll(in); tt.err == nil && string(rest) != behind {
				t.Errorf("left %q, want %q", rest, behind)
			}
		})
	}
}

func FuzzParseProxyHeader(f *testing.F) {
	f.Add("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nrest")
	f.Add(proxyV2Signature + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02")
	f.Fuzz(func(t *testing.T, in string) {
		ip, err := parseProxyHeader(strings.NewReader(in))
		if err != nil && ip.IsValid() {
			t.Error("an address beside an error")
		}
		if ip.IsValid() && placeOfIP(ip) == (place{}) {
			t.Errorf("%v has no place", ip)
		}
	})
}
