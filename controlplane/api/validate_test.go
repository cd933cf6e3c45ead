package api

import (
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestValidate(t *testing.T) {
	a, b := key(t), key(t)
	reach := a.String() + ":80"
	allow := []cipher.PubKey{a}
	tests := []struct {
		name string
		item interface{ Validate() error }
		want []string // begins of the problems
	}{
		{"link", LinkSpec{a, SUDPH, "[::1]:7"}, nil},
		{"link name", LinkSpec{a, STCPR, "example.org:7"}, nil},
		{"empty link", LinkSpec{}, []string{"pk: is missing", "type: is \"\"", "addr: is \"\""}},
		{"no port", LinkSpec{a, SUDPH, "1.2.3.4"}, []string{"addr: is"}},
		{"port 0", LinkSpec{a, SUDPH, "1.2.3.4:0"}, []string{"addr: is"}},
		{"any host", LinkSpec{a, SUDPH, ":1"}, []string{"addr: is"}},
		{"any type", LinkID{PK: a}, nil},
		{"bad type", LinkID{a, "tcp"}, []string{"type: is \"tcp\""}},
		{"by key alone", LinkSpec{PK: a, Type: DMSG}, nil},
		{"by key and address", LinkSpec{a, DMSG, "192.0.2.1:7"}, []string{"addr: is \"192.0.2.1:7\"; a dmsg link"}},
		{"rule", Rule{Hop{a, 1}, Hop{b, 65535}, nil}, nil},
		{"turns back", Rule{Hop{a, 1}, Hop{a, 2}, nil}, []string{"out.link: is the link that"}},
		{"end", Rule{Hop{a, 1}, Hop{a, 2}, &b}, nil},
		{"labels", Rule{Hop{a, 0}, Hop{b, 65536}, &cipher.PubKey{}}, []string{"in.label: is 0", "out.label: is 65536", "peer: is missing"}},
		{"expose", ForwardSpec{Expose: "localhost:80", Port: 1, Allow: allow}, nil},
		{"neither", ForwardSpec{}, []string{": neither"}},
		{"nobody", ForwardSpec{Expose: "localhost:80"}, []string{"port: is missing", "allow: is empty"}},
		{"all and some", ForwardSpec{Expose: "localhost:80", Port: 1, Public: true, Allow: allow}, []string{"public: allow and public"}},
		{"expose local", ForwardSpec{Expose: "localhost:80", Port: 1, Public: true, Local: "x"}, []string{"local: belongs"}},
		{"reach", ForwardSpec{Reach: reach, Local: "127.0.0.1:5"}, nil},
		{"reach from anywhere", ForwardSpec{Reach: reach, Local: "127.0.0.1:0"}, []string{"local: is"}},
		{"reach all wrong", ForwardSpec{Reach: "x", Local: "y", Port: 1, Public: true}, []string{"reach: is \"x\"", "local: is \"y\"", "port: belongs", "allow: allow"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Split(tt.item.Validate())
			if len(got) != len(tt.want) {
				t.Fatalf("got %v, want %d problems", got, len(tt.want))
			}
			for i, e := range got {
				if !strings.HasPrefix(e.Error(), tt.want[i]) {
					t.Errorf("got %q, want it to begin with %q", e, tt.want[i])
				}
			}
		})
	}
}

func TestParse(t *testing.T) {
	a := key(t)
	for _, s := range []string{a.String() + ":80", strings.ToUpper(a.String()) + ":1"} {
		if pk, _, err := ParsePeer(s); err != nil || pk != a {
			t.Errorf("ParsePeer(%s) = %v, %v", s, pk, err)
		}
	}
	for _, s := range []string{"", a.String(), a.String() + ":0", a.String() + ":65536", "x:1", a.String() + ":1:2"} {
		if _, _, err := ParsePeer(s); err == nil {
			t.Errorf("ParsePeer(%q) succeeds", s)
		}
	}
	h := Hop{a, 77}
	if got, err := ParseHop(h.String()); err != nil || got != h {
		t.Errorf("ParseHop(%s) = %v, %v", h, got, err)
	}
	for _, s := range []string{"", a.String(), a.String() + ":x", "02:1"} {
		if _, err := ParseHop(s); err == nil {
			t.Errorf("ParseHop(%q) succeeds", s)
		}
	}
}
