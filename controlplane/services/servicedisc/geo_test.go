package servicedisc

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// Writers of the data types of the MaxMind DB format, version 2.0
// (maxmind.github.io/MaxMind-DB): a control byte with the type in its upper three
// bits, or 0 and the type minus 7 in the next byte, and the size in its lower five.

func text(s string) []byte { return append([]byte{2<<5 | byte(len(s))}, s...) }

func double(f float64) []byte {
	return binary.BigEndian.AppendUint64([]byte{3<<5 | 8}, math.Float64bits(f))
}

func number(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{5<<5 | 2}, n) }

func table(pairs ...[]byte) []byte {
	return append([]byte{7<<5 | byte(len(pairs)/2)}, bytes.Join(pairs, nil)...)
}

func array(items ...[]byte) []byte {
	return append([]byte{byte(len(items)), 11 - 7}, bytes.Join(items, nil)...)
}

// database writes a file that knows one network of IPv4.
func database(t *testing.T, p netip.Prefix, data []byte) string {
	t.Helper()
	nodes := uint32(p.Bits())
	ip := p.Addr().As4()
	var b []byte
	put := func(n uint32) { b = append(b, byte(n>>16), byte(n>>8), byte(n)) } // records of 24 bits
	for i := range nodes {
		next := i + 1
		if next == nodes {
			next = nodes + 16 // what begins after the tree and its separator of 16 bytes
		}
		pair := [2]uint32{nodes, nodes} // nothing is known
		pair[ip[i/8]>>(7-i%8)&1] = next
		put(pair[0])
		put(pair[1])
	}
	b = append(append(b, make([]byte, 16)...), data...)
	b = append(b, "\xab\xcd\xefMaxMind.com"...)
	b = append(b, table(text("node_count"), number(uint16(nodes)), text("record_size"), number(24), text("ip_version"), number(4),
		text("binary_format_major_version"), number(2), text("binary_format_minor_version"), number(0), text("database_type"), text("test"))...)
	path := filepath.Join(t.TempDir(), "test.mmdb")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDatabase(t *testing.T) {
	d, err := OpenDatabase(database(t, netip.MustParsePrefix("203.0.113.0/24"), table(
		text("country"), table(text("iso_code"), text("HU")),
		text("location"), table(text("latitude"), double(47.5), text("longitude"), double(19.25)),
		text("subdivisions"), array(table(text("iso_code"), text("BU"))))))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := d.Locate(netip.MustParseAddr("203.0.113.77")); got == nil || *got != (deployment.Geo{Lat: 47.5, Lon: 19.25, Country: "HU", Region: "BU"}) {
		t.Errorf("%+v", got)
	}
	for _, a := range []string{"203.0.114.1", "10.0.0.1", "2001:db8::1"} {
		if got := d.Locate(netip.MustParseAddr(a)); got != nil {
			t.Errorf("%s: %+v", a, got)
		}
	}
}

func TestNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("nothing of the kind"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "y"} {
		if _, err := OpenDatabase(p); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
}
