package disc

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// The golden texts are those of appendix A of our description of the deployed
// protocol, printed by the deployed software.
const (
	goldenClientPayload = `{"version":"0.0.1","sequence":0,"timestamp":1700000000000000000,"static":"034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa","client":{"delegated_servers":["02466d7fcae563e5cb09a0d1870bb580344804617879a14949cf22285f1bae3f27"]},"client_type":"visor"}`
	goldenClient        = `{"version":"0.0.1","sequence":0,"timestamp":1700000000000000000,"static":"034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa","client":{"delegated_servers":["02466d7fcae563e5cb09a0d1870bb580344804617879a14949cf22285f1bae3f27"]},"client_type":"visor","signature":"282d99f32d1b25fbe758f6d7690db9c2545171549a52faa28f21ac02b2dfa7bb757f80bd8d0c965ed73ab5bb311b1f0c713d577609a6474df502571bbd4d3fc500"}`
	goldenServerPayload = `{"version":"0.0.1","sequence":3,"timestamp":1700000000000000000,"static":"02466d7fcae563e5cb09a0d1870bb580344804617879a14949cf22285f1bae3f27","server":{"address":"1.2.3.4:8081","availableSessions":2047,"serverType":"official"}}`
)

// keyPair returns the key pair whose secret is b 32 times: A is 0x11, B 0x22.
func keyPair(t testing.TB, b byte) (cipher.PubKey, cipher.SecKey) {
	t.Helper()
	sk := cipher.SecKey(bytes.Repeat([]byte{b}, cipher.SecKeyLen))
	pk, err := sk.PubKey()
	if err != nil {
		t.Fatal(err)
	}
	return pk, sk
}

func TestGoldenClient(t *testing.T) {
	a, skA := keyPair(t, 0x11)
	b, _ := keyPair(t, 0x22)
	e := NewClient(a, ClientVisor, []cipher.PubKey{b}, time.Unix(1_700_000_000, 0))
	got, err := e.encode()
	if err != nil || string(got) != goldenClientPayload {
		t.Errorf("bytes to sign = %s, %v\nwant %s", got, err, goldenClientPayload)
	}
	parsed, err := Parse([]byte(goldenClient))
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Verify(); err != nil {
		t.Errorf("the golden entry does not verify: %v", err)
	}
	if got, _ := json.Marshal(parsed); string(got) != goldenClient {
		t.Errorf("marshalled again: %s", got)
	}
	if err := e.Sign(skA); err != nil {
		t.Fatal(err)
	}
	if got, want := e.Raw(), strings.Split(goldenClient, `"signature"`)[0]; !bytes.HasPrefix(got, []byte(want)) {
		t.Errorf("signed entry = %s, want it to begin with %s", got, want)
	}
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
}

func TestGoldenServer(t *testing.T) {
	b, sk := keyPair(t, 0x22)
	e := NewServer(b, "1.2.3.4:8081", 2047, time.Unix(1_700_000_000, 0))
	e.Sequence, e.Server.ServerType = 3, Official
	got, err := e.encode()
	if err != nil || string(got) != goldenServerPayload {
		t.Errorf("bytes to sign = %s, %v\nwant %s", got, err, goldenServerPayload)
	}
	if err := e.Sign(sk); err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
}

func TestNullServersAndHTML(t *testing.T) {
	a, sk := keyPair(t, 0x11)
	e := NewClient(a, "<&>", nil, time.Unix(0, 1))
	if err := e.Sign(sk); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(e.Raw(), []byte(`"client":{"delegated_servers":null},"client_type":"<&>"`)) {
		t.Errorf("entry = %s", e.Raw())
	}
}

// signText signs payload, which must be an object, by hand and puts the signature
// at the end.
func signText(t testing.TB, sk cipher.SecKey, payload string) string {
	t.Helper()
	sig, err := cipher.Sign(sk, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(payload, "}") + `,"signature":"` + sig.String() + `"}`
}

func TestVerifyCoversWhatWasReceived(t *testing.T) {
	a, sk := keyPair(t, 0x11)
	base := `{"version":"0.0.1","sequence":0,"timestamp":5,"static":"` + a.String() + `","client":{"delegated_servers":[]}`
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"plain", signText(t, sk, base+`}`), true},
		{"unknown members", signText(t, sk, base+`,"protocol":"smux","future":{"a":[1,{"b":"}"}]}}`), true},
		{"another order of members", signText(t, sk, `{"client":{},"static":"`+a.String()+`","version":"1"}`), true},
		{"white space", strings.ReplaceAll(signText(t, sk, base+`}`), ",", ",\n "), true},
		{"member added afterwards", strings.Replace(signText(t, sk, base+`}`), `,"client"`, `,"extra":1,"client"`, 1), false},
		{"sequence changed", strings.Replace(signText(t, sk, base+`}`), `"sequence":0`, `"sequence":1`, 1), false},
		{"nothing but a key", `{"static":"` + a.String() + `"}`, false},
		{"signature is no hex", base + `,"signature":"` + strings.Repeat("x", 130) + `"}`, false},
		{"signature too short", base + `,"signature":"00"}`, false},
		{"signature of zeros", base + `,"signature":"` + strings.Repeat("0", 130) + `"}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			err = e.Verify()
			if (err == nil) != tt.ok {
				t.Errorf("Verify = %v, want ok: %v", err, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrSignature) {
				t.Errorf("Verify = %v, want ErrSignature", err)
			}
		})
	}
	// Newer peers put a member behind the signature.
	mid := strings.Replace(signText(t, sk, base+`,"protocol":"smux"}`), `,"protocol":"smux"`, "", 1)
	mid = strings.TrimSuffix(mid, "}") + `,"protocol":"smux"}`
	if e, err := Parse([]byte(mid)); err != nil || e.Verify() != nil || e.Protocol != "smux" {
		t.Errorf("signature in the middle: %v, %+v", err, e)
	}
}

func TestParseRefuses(t *testing.T) {
	a, _ := keyPair(t, 0x11)
	many := `"` + a.String() + `"` + strings.Repeat(`,"`+a.String()+`"`, MaxDelegated)
	tests := []struct{ name, text string }{
		{"nothing", ``}, {"no object", `[]`}, {"number", `1`}, {"cut off", goldenClient[:100]},
		{"twice", `{"sequence":1,"sequence":2}`},
		{"two signatures", `{"signature":"a","signature":"b"}`},
		{"negative sequence", `{"sequence":-1}`},
		{"key is no point", `{"static":"02` + strings.Repeat("f", 64) + `"}`},
		{"short key", `{"static":"02"}`},
		{"too many servers", `{"client":{"delegated_servers":[` + many + `]}}`},
		{"list of empty texts", `{"client":{"delegated_servers":[` + strings.Repeat(`"",`, 4000) + `""]}}`},
		{"too long", `{"version":"` + strings.Repeat("x", MaxEntry) + `"}`},
		{"too deep", strings.Repeat(`{"a":`, MaxEntry/6)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if e, err := Parse([]byte(tt.text)); !errors.Is(err, ErrFormat) {
				t.Errorf("Parse = %+v, %v, want ErrFormat", e, err)
			}
		})
	}
	if e, err := Parse([]byte(`{"static":"` + strings.Repeat("0", 66) + `","SIGNATURE":"x","client":null,"server":null}`)); err != nil || !e.Static.IsZero() || e.Signature != "" || e.Client != nil {
		t.Errorf("Parse = %+v, %v", e, err)
	}
}

func TestServerTypes(t *testing.T) {
	b, sk := keyPair(t, 0x22)
	for _, signed := range []string{"", Official, Community, "pass-phrase"} {
		e := NewServer(b, "1.2.3.4:8081", 1, time.Unix(1, 0))
		e.Server.ServerType = signed
		if err := e.Sign(sk); err != nil {
			t.Fatal(err)
		}
		for _, served := range []string{Official, Community} {
			out, err := Parse(e.WithServerType(served).Raw())
			if err != nil {
				t.Fatal(err)
			}
			if out.Server.ServerType != served || bytes.Contains(out.Raw(), []byte("pass-phrase")) {
				t.Errorf("signed %q, served %q: %s", signed, served, out.Raw())
			}
			err = out.VerifyServed()
			if wantOK := signed != "pass-phrase"; (err == nil) != wantOK {
				t.Errorf("signed %q, served %q: VerifyServed = %v", signed, served, err)
			}
			if err := out.Verify(); (err == nil) != (signed == served) {
				t.Errorf("signed %q, served %q: Verify = %v", signed, served, err)
			}
		}
	}
	// A client's entry has no type to be tolerant about.
	e, _ := Parse([]byte(strings.Replace(goldenClient, `"sequence":0`, `"sequence":1`, 1)))
	if e.VerifyServed() == nil || e.WithServerType(Official) != e {
		t.Error("a client's entry is treated as a server's")
	}
	if e, _ := Parse([]byte(`{"server":{}}`)); string(e.WithServerType(Community).Raw()) != `{"server":{"serverType":"community"}}` {
		t.Errorf("empty server: %s", e.WithServerType(Community).Raw())
	}
}

func TestSignRefuses(t *testing.T) {
	a, _ := keyPair(t, 0x11)
	_, skB := keyPair(t, 0x22)
	e := NewClient(a, "", nil, time.Unix(1, 0))
	if err := e.Sign(skB); err == nil || e.Signature != "" {
		t.Errorf("signed with another's key: %v", err)
	}
}

func TestClone(t *testing.T) {
	e, err := Parse([]byte(goldenClient))
	if err != nil {
		t.Fatal(err)
	}
	c := e.Clone()
	c.Client.DelegatedServers[0] = cipher.PubKey{}
	c.Sequence++
	if got, _ := json.Marshal(e); string(got) != goldenClient || e.Client.DelegatedServers[0].IsZero() || c.Raw() != nil || c.Signature != "" {
		t.Error("the clone shares memory with the entry, or is signed")
	}
}

// Whoever controls the bytes controls nothing else: no panic, and what verifies
// verifies again after a round trip.
func FuzzParse(f *testing.F) {
	f.Add([]byte(goldenClient))
	f.Add([]byte(goldenServerPayload))
	f.Add([]byte(`{"static":"","server":{"serverType":"a"},"signature":"","client":{"delegated_servers":null}}`))
	f.Add([]byte(`{"a":"\"\\","b":[{"c":"}"}],"signature":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse(data)
		if err != nil {
			return
		}
		verified := e.Verify() == nil
		_ = e.VerifyServed()
		again, err := Parse(e.Raw())
		if err != nil || !bytes.Equal(again.Raw(), e.Raw()) || (again.Verify() == nil) != verified {
			t.Fatalf("parsed again: %v", err)
		}
		for _, st := range []string{Official, ""} {
			if out, err := Parse(e.WithServerType(st).Raw()); err != nil || out.Server != nil && out.Server.ServerType != st {
				t.Fatalf("with server type %q: %s: %v", st, e.WithServerType(st).Raw(), err)
			}
		}
		if m, ok := find(e.Raw(), "signature"); ok && !json.Valid(without(e.Raw(), m)) {
			t.Fatalf("without signature: %s", without(e.Raw(), m))
		}
	})
}
