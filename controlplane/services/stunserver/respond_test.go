package stunserver

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/pion/stun"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// head is cookie and transaction of RFC 5769's samples.
const head = "2112a442b7e7a701bc34d686fa87dfae"

// The mapped addresses are those of RFC 5769, sections 2.2 and 2.3; the rest was
// written by hand from RFC 8489, section 14, and RFC 5780, section 7.
func TestRespondGolden(t *testing.T) {
	const (
		mapped4 = "00200008" + "0001a147e112a643"
		mapped6 = "00200014" + "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
		from4   = "192.0.2.1:32853"
		from6   = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
		at4     = "198.51.100.5:3478"
		at6     = "[2001:db8::5]:3478"
		plain   = "00010000" + head
		origin  = "802b0008" + "00010d96c6336405"
		other   = "802c0008" + "00010d97c6336405"
	)
	tests := []struct {
		name, request, from, at, want string
		byOther                       bool
	}{
		{"IPv4", plain, from4, at4, "01010024" + head + mapped4 + origin + other, false},
		{"IPv6", plain, from6, at6, "01010048" + head + mapped6 +
			"802b0014" + "00020d9620010db8000000000000000000000005" +
			"802c0014" + "00020d9720010db8000000000000000000000005", false},
		{"the other port", "00010008" + head + "0003000400000002", from4, at4,
			"01010024" + head + mapped4 + "802b0008" + "00010d97c6336405" + other, true},
		{"no change", "00010008" + head + "0003000400000000", from4, at4, "01010024" + head + mapped4 + origin + other, false},
		{"padding and software are left alone", "00010010" + head + "0026000400000000" + "8022000478787878", from4, at4, "01010024" + head + mapped4 + origin + other, false},
		{"another address", "00010008" + head + "0003000400000006", from4, at4,
			"01110024" + head + "00090015" + "00000414" + "556e6b6e6f776e20417474726962757465" + "000000" + "000a0002" + "00030000", false},
		{"response port", "00010008" + head + "00270004" + "00350000", from4, at4,
			"01110024" + head + "00090015" + "00000414" + "556e6b6e6f776e20417474726962757465" + "000000" + "000a0002" + "00270000", false},
		{"an indication", "00110000" + head, from4, at4, "", false},
		{"an answer", "01010000" + head, from4, at4, "", false},
		{"no cookie", "000100002112a443b7e7a701bc34d686fa87dfae", from4, at4, "", false},
		{"short", plain[:38], from4, at4, "", false},
		{"longer than it says", "00010004" + head, from4, at4, "", false},
		{"nothing", "", from4, at4, "", false},
	}
	var r responder
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := netip.MustParseAddrPort(tt.at)
			got, byOther := r.respond(unhex(t, tt.request), netip.MustParseAddrPort(tt.from), at, netip.AddrPortFrom(at.Addr(), at.Port()+1))
			if hex.EncodeToString(got) != tt.want || byOther != tt.byOther {
				t.Errorf("%x, %v\nwant %s, %v", got, byOther, tt.want, tt.byOther)
			}
		})
	}
}

// FuzzRespond: whatever comes, nothing panics, replies parse, name the request, and
// are short.
func FuzzRespond(f *testing.F) {
	for _, s := range []string{"00010000" + head, "00010008" + head + "0003000400000002", "00010008" + head + "0027000400350000", "00010000"} {
		f.Add(unhex(f, s))
	}
	from, at := netip.MustParseAddrPort("[2001:db8::1]:9"), netip.MustParseAddrPort("[2001:db8::5]:3478")
	other := netip.MustParseAddrPort("[2001:db8::5]:3479")
	var r responder
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := r.respond(b, from, at, other)
		if got == nil {
			return
		}
		m := stun.Message{Raw: bytes.Clone(got)}
		if err := m.Decode(); err != nil || !bytes.Equal(got[4:20], b[4:20]) || len(got) > 92 {
			t.Fatalf("%x: %v", got, err)
		}
	})
}

// The reply to the smallest request, with headers of 28 and 48 bytes, against it.
func TestAmplification(t *testing.T) {
	var r responder
	for _, tt := range []struct {
		from, at string
		headers  int
	}{{"192.0.2.1:1", "198.51.100.5:3478", 28}, {"[2001:db8::1]:1", "[2001:db8::5]:3478", 48}} {
		rq := unhex(t, "00010000"+head)
		got, _ := r.respond(rq, netip.MustParseAddrPort(tt.from), netip.MustParseAddrPort(tt.at), netip.MustParseAddrPort(tt.at))
		if times := float64(len(got)+tt.headers) / float64(len(rq)+tt.headers); times > 2.2 {
			t.Errorf("%s: %d bytes, %.2f times the request", tt.from, len(got), times)
		}
	}
}
